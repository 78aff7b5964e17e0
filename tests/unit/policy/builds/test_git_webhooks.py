import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.openshift import WEBHOOKS, needs_corpus

from upwell.api.builds.build import WebHookCause
from upwell.api.builds.config import (
    BuildConfig,
    BuildConfigSpec,
    BuildTriggerPolicy,
    WebHookTrigger,
)
from upwell.api.builds.inputs import BuildSource, GitBuildSource
from upwell.api.meta import LocalReference, ObjectMeta
from upwell.policy.builds.git_webhooks import (
    BadHookError,
    Hook,
    HookCall,
    Proceed,
    Skip,
    WrongSecretError,
    matching_trigger,
    read_call,
)

SECRET = b"secret101"
GITHUB = {"content-type": "application/json", "x-github-event": "push"}
GITLAB = {"content-type": "application/json", "x-gitlab-event": "Push Hook"}
BITBUCKET = {"content-type": "application/json", "x-event-key": "repo:push"}
JSON = {"content-type": "application/json"}


def config(ref: str | None = None, *, git: bool = True, **hooks: WebHookTrigger) -> BuildConfig:
    types = {"github": "GitHub", "gitlab": "GitLab", "bitbucket": "Bitbucket", "generic": "Generic"}
    source = BuildSource(git=GitBuildSource(uri="git://host/repo", ref=ref)) if git else None
    return BuildConfig(
        metadata=ObjectMeta(name="app", namespace="shop"),
        spec=BuildConfigSpec(
            source=source or BuildSource(),
            triggers=tuple(
                BuildTriggerPolicy.model_validate({"type": types[name], name: hook})
                for name, hook in hooks.items()
            ),
        ),
    )


def call(
    hook: Hook,
    headers: dict[str, str],
    body: bytes | dict[str, Any],
    target: BuildConfig | None = None,
    *,
    allow_env: bool = False,
) -> Proceed | Skip:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    trigger = WebHookTrigger(secret=SECRET.decode(), allow_env=allow_env)
    return read_call(target or config(), hook, trigger, SECRET, HookCall(headers, raw))


def payload(name: str) -> bytes:
    return (WEBHOOKS / name).read_bytes()


def commit(asked: Proceed | Skip) -> str:
    assert isinstance(asked, Proceed), asked
    assert asked.request.revision is not None
    return asked.request.revision.commit


@needs_corpus
def test_a_github_push_to_the_branch_builds_its_head() -> None:
    asked = call(Hook.GITHUB, GITHUB, payload("github/testdata/pushevent.json"))

    assert isinstance(asked, Proceed)
    assert asked.request.revision is not None
    assert asked.request.revision.model_dump(exclude_unset=True) == {
        "type": "Git",
        "git": {
            "commit": "9bdc3a26ff933b32f3e558636b58aea86a69f051",
            "author": {"name": "Anonymous User", "email": "anonUser@example.com"},
            "committer": {"name": "Anonymous User", "email": "anonUser@example.com"},
            "message": "Added license",
        },
    }
    [cause] = asked.request.triggered_by
    assert cause.message == "GitHub WebHook"
    assert cause.github_web_hook is not None
    assert cause.github_web_hook.secret == "<secret>"
    assert cause.github_web_hook.revision == asked.request.revision


@needs_corpus
@pytest.mark.parametrize(
    ("hook", "headers", "name"),
    [
        (Hook.GITHUB, GITHUB, "github/testdata/pushevent-not-master-branch.json"),
        (Hook.GITLAB, GITLAB, "gitlab/testdata/pushevent-not-master-branch.json"),
    ],
)
def test_a_push_to_another_branch_builds_nothing(
    hook: Hook, headers: dict[str, str], name: str
) -> None:
    ref = json.loads(payload(name))["ref"]
    assert call(hook, headers, payload(name)) == Skip(
        f'skipping build. Branch reference from "{ref}" does not match configuration'
    )


@needs_corpus
def test_a_push_to_the_branch_that_the_config_names_builds() -> None:
    body = payload("github/testdata/pushevent-not-master-branch.json")
    ref = json.loads(body)["ref"].removeprefix("refs/heads/")
    assert isinstance(call(Hook.GITHUB, GITHUB, body, config(ref)), Proceed)


@needs_corpus
def test_githubs_ping_is_answered_and_builds_nothing() -> None:
    headers = {**GITHUB, "x-github-event": "ping"}
    assert call(Hook.GITHUB, headers, payload("github/testdata/pingevent.json")) == Skip()


@needs_corpus
def test_a_gitlab_push_builds_what_was_checked_out() -> None:
    asked = call(Hook.GITLAB, GITLAB, payload("gitlab/testdata/pushevent.json"))

    assert commit(asked) == "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
    assert isinstance(asked, Proceed)
    assert asked.request.revision is not None
    assert asked.request.revision.git.message == "fixed readme"
    [cause] = asked.request.triggered_by
    assert cause.message == "GitLab WebHook"
    assert cause.gitlab_web_hook is not None


@needs_corpus
def test_variables_come_with_a_generic_call_only_where_they_are_allowed() -> None:
    for name, kind in (("push-generic-envs.json", "json"), ("push-generic-envs.yaml", "yaml")):
        headers = {"content-type": f"application/{kind}; charset=utf-8"}
        body = payload(f"generic/testdata/{name}")
        allowed = call(Hook.GENERIC, headers, body, allow_env=True)
        refused = call(Hook.GENERIC, headers, body)

        assert isinstance(allowed, Proceed)
        assert [(v.name, v.value) for v in allowed.request.env] == [("EXAMPLE", "sample-app")]
        assert allowed.warning == ""
        assert isinstance(refused, Proceed)
        assert refused.request.env == ()
        assert commit(refused) == "9bdc3a26ff933b32f3e558636b58aea86a69f051"


@needs_corpus
def test_a_generic_call_may_bring_a_list_of_refs() -> None:
    body = payload("generic/testdata/post-receive-git.json")

    assert commit(call(Hook.GENERIC, JSON, body)) == "2602ace61490de0513dfbd7c7de949356cf9bd17"
    assert call(Hook.GENERIC, JSON, body, config("other")) == Skip(
        'skipping build. None of the supplied refs matched "other"'
    )


@needs_corpus
def test_a_generic_call_without_git_information_builds_with_a_warning() -> None:
    asked = call(Hook.GENERIC, JSON, payload("generic/testdata/push-gitlab.json"))

    assert isinstance(asked, Proceed)
    assert asked.request.revision is None
    assert asked.warning == (
        "no git information found in payload, ignoring and continuing with build"
    )


@pytest.mark.parametrize(
    ("headers", "body", "warning"),
    [
        ({}, b"", ""),
        (JSON, b"", ""),
        ({"content-type": "text/plain"}, b"x", "invalid Content-Type on payload, ignoring"),
        (JSON, b"{", "error unmarshalling payload: "),
        (JSON, b"[1]", "error unmarshalling payload: "),
        (JSON, b"[" * 100_000, "error unmarshalling payload: "),
        ({"content-type": "application/yaml"}, b"a: [", "error converting payload to json: "),
        ({"content-type": "application/yaml"}, b"- a", "error converting payload to json: "),
    ],
)
def test_a_generic_call_that_cannot_be_read_builds_all_the_same(
    headers: dict[str, str], body: bytes, warning: str
) -> None:
    asked = call(Hook.GENERIC, headers, body)

    assert isinstance(asked, Proceed)
    assert asked.warning.startswith(warning)
    assert bool(asked.warning) == bool(warning)
    assert asked.request.triggered_by[0].generic_web_hook == WebHookCause(secret="<secret>")


def test_a_generic_call_of_another_branch_builds_nothing() -> None:
    body = {"git": {"ref": "refs/heads/other", "commit": "a" * 40}}
    assert isinstance(call(Hook.GENERIC, JSON, body), Skip)


def test_a_generic_call_may_change_how_a_dockerfile_is_built() -> None:
    body = {
        "git": {"ref": "master", "commit": "abc"},
        "dockerStrategyOptions": {"noCache": True, "buildArgs": [{"name": "A", "value": "1"}]},
    }
    asked = call(Hook.GENERIC, JSON, body)

    assert isinstance(asked, Proceed)
    options = asked.request.docker_strategy_options
    assert options is not None
    assert options.no_cache is True
    assert [(v.name, v.value) for v in options.build_args] == [("A", "1")]


def test_bitbucket_cloud_names_the_branch_in_its_changes() -> None:
    change = {
        "new": {
            "name": "master",
            "target": {
                "hash": "abc123",
                "message": "fix",
                "author": {"raw": "Jo Doe <jo@example.com>"},
            },
        }
    }
    other = {"new": {"name": "side", "target": {"hash": "def456"}}}

    asked = call(Hook.BITBUCKET, BITBUCKET, {"push": {"changes": [other, change]}})

    assert commit(asked) == "abc123"
    assert isinstance(asked, Proceed)
    assert asked.request.revision is not None
    author = asked.request.revision.git.author
    assert (author.name, author.email) == ("Jo Doe", "jo@example.com")
    assert asked.request.triggered_by[0].bitbucket_web_hook is not None
    assert isinstance(call(Hook.BITBUCKET, BITBUCKET, {"push": {"changes": [other]}}), Skip)


def test_bitbucket_server_names_the_branch_as_a_ref() -> None:
    body = {
        "actor": {"displayName": "Jo", "emailAddress": "jo@example.com"},
        "changes": [{"ref": {"id": "refs/heads/master"}, "toHash": "abc", "fromHash": "def"}],
    }
    headers = {**BITBUCKET, "x-event-key": "repo:refs_changed"}
    assert commit(call(Hook.BITBUCKET, headers, body)) == "abc"


@pytest.mark.parametrize(
    ("hook", "headers", "body"),
    [
        (Hook.GITHUB, GITHUB, {"ref": "refs/heads/master", "deleted": True}),
        (Hook.GITLAB, GITLAB, {"ref": "refs/heads/master", "after": "0" * 40}),
        (
            Hook.BITBUCKET,
            {**BITBUCKET, "x-event-key": "repo:refs_changed"},
            {"changes": [{"ref": {"id": "refs/heads/master"}, "toHash": "0" * 40}]},
        ),
    ],
)
def test_a_deleted_branch_builds_nothing(
    hook: Hook, headers: dict[str, str], body: dict[str, Any]
) -> None:
    asked = call(hook, headers, body)
    assert isinstance(asked, Skip)
    assert "was deleted" in asked.message


@pytest.mark.parametrize(
    ("hook", "headers", "message"),
    [
        (Hook.GITHUB, {"content-type": "application/json"}, "missing X-GitHub-Event"),
        (Hook.GITHUB, {**GITHUB, "x-github-event": "wrong"}, "X-Gogs-Event wrong"),
        (Hook.GITHUB, {"x-github-event": "push"}, "unsupported Content-Type "),
        (Hook.GITLAB, {"content-type": "application/json"}, "missing X-Gitlab-Event"),
        (Hook.GITLAB, {**GITLAB, "x-gitlab-event": "Tag"}, "Unknown X-Gitlab-Event Tag"),
        (Hook.BITBUCKET, JSON, "missing X-Event-Key"),
        (Hook.GITHUB, GITHUB, "not JSON"),
    ],
)
def test_a_call_that_is_none_of_its_kind_is_refused(
    hook: Hook, headers: dict[str, str], message: str
) -> None:
    with pytest.raises(BadHookError, match=message):
        call(hook, headers, b"nothing")


def test_githubs_signature_must_be_right_when_there_is_one() -> None:
    body = json.dumps({"ref": "refs/heads/master", "head_commit": {"id": "abc"}}).encode()
    right = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()

    assert commit(call(Hook.GITHUB, {**GITHUB, "x-hub-signature-256": right}, body)) == "abc"
    for wrong in ("sha256=" + "0" * 64, "sha1=abc", "", "ü"):
        with pytest.raises(WrongSecretError):
            call(Hook.GITHUB, {**GITHUB, "x-hub-signature-256": wrong}, body)


def test_a_secret_opens_the_trigger_of_its_kind_alone() -> None:
    referred = WebHookTrigger(secret_reference=LocalReference(name="hook"))
    target = config(
        github=WebHookTrigger(secret="one"), generic=WebHookTrigger(secret="two", allow_env=True)
    )
    named = config(gitlab=referred)
    values = {"hook": b"three"}

    assert matching_trigger(target, Hook.GITHUB, "one", {}) == (
        WebHookTrigger(secret="one"),
        b"one",
    )
    assert matching_trigger(target, Hook.GENERIC, "one", {}) is None
    assert matching_trigger(target, Hook.GITLAB, "one", {}) is None
    assert matching_trigger(named, Hook.GITLAB, "three", values) == (referred, b"three")
    assert matching_trigger(named, Hook.GITLAB, "", values) is None
    assert matching_trigger(named, Hook.GITLAB, "", {}) is None, "an absent Secret opens nothing"


KEYS = ["ref", "head_commit", "commits", "push", "changes", "new", "target", "git", "refs"]
KEYS += ["env", "name", "author", "id", "after", "toHash"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from([(Hook.GITHUB, GITHUB), (Hook.GITLAB, GITLAB)]), JSON_VALUES)
def test_no_payload_breaks_a_hook(kind: tuple[Hook, dict[str, str]], value: Any) -> None:
    body = json.dumps(value).encode()
    for hook, headers in (kind, (Hook.BITBUCKET, BITBUCKET), (Hook.GENERIC, JSON)):
        try:
            asked = call(hook, headers, body, allow_env=True)
        except BadHookError:
            continue
        assert isinstance(asked, Proceed | Skip)
