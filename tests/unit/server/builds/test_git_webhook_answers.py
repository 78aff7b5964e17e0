import json
import logging
from collections.abc import Sequence

import pytest
from tests.support.server.api_server import Api, ApiAnswer

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.api.builds.inputs import BuildStrategy, DockerBuildStrategy
from upwell.policy.builds.commits.following import COMMITS_ANNOTATION, NEW_COMMIT

CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
PUSH = {"ref": "refs/heads/master", "head_commit": {"id": "abc", "message": "fix"}}
GITHUB = {"X_GitHub_Event": "push"}


@pytest.fixture
async def hooked(api: Api) -> Api:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hook"},
        "stringData": {"WebHookSecretKey": "named"},
    }
    assert (await api.send("POST", "/api/v1/namespaces/shop/secrets", secret)).status == 201
    config = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app"},
        "spec": {
            "source": {"git": {"uri": "https://example.com/app.git"}},
            "strategy": {"dockerStrategy": {}},
            "triggers": [
                {"type": "github", "github": {"secret": "plain"}},
                {"type": "GitLab", "gitlab": {"secretReference": {"name": "hook"}}},
                {"type": "Generic", "generic": {"secret": "open"}},
            ],
        },
    }
    answer = await api.send("POST", CONFIGS, config)
    assert answer.status == 201, answer.text
    return api


async def builds(api: Api) -> Sequence[Build]:
    return (await api.store.list(Build)).items


async def push(api: Api, name: str, secret: str, hook: str) -> ApiAnswer:
    return await api.send("POST", f"{CONFIGS}/{name}/webhooks/{secret}/{hook}", PUSH, **GITHUB)


async def test_a_push_starts_a_build_of_its_commit_and_answers_with_it(hooked: Api) -> None:
    answer = await push(hooked, "app", "plain", "github")

    assert answer.status == 200
    assert answer.json["kind"] == "Build"
    assert answer.json["metadata"]["name"] == "app-1"
    [build] = await builds(hooked)
    assert build.name == "app-1"
    assert build.spec.revision is not None
    assert build.spec.revision.commit == "abc"
    [cause] = build.spec.triggered_by
    assert cause.message == "GitHub WebHook"
    assert cause.github_web_hook is not None
    assert cause.github_web_hook.secret == "<secret>"


async def polled_build(api: Api) -> Build:
    """Have the repository followed, and return the build of the commit that a look has found."""
    config = await api.store.get(BuildConfig, "shop", "app")
    await api.store.update(config.with_metadata(annotations={COMMITS_ANNOTATION: "true"}))
    request = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildRequest",
        "metadata": {"name": "app"},
        "revision": {"type": "Git", "git": {"commit": "abc"}},
        "triggeredBy": [{"message": NEW_COMMIT}],
        "unlessBuilt": True,
    }
    answer = await api.send("POST", f"{CONFIGS}/app/instantiate", request)
    assert answer.status == 201, answer.text
    return await api.store.get(Build, "shop", "app-1")


async def test_a_push_after_a_look_at_the_repository_gets_the_build_of_its_commit(
    hooked: Api,
) -> None:
    await polled_build(hooked)

    answer = await push(hooked, "app", "plain", "github")

    assert (answer.status, answer.json["metadata"]["name"]) == (200, "app-1")
    assert [build.name for build in await builds(hooked)] == ["app-1"]


async def test_a_push_of_a_commit_whose_build_failed_builds_it_again(hooked: Api) -> None:
    polled = await polled_build(hooked)
    failed = polled.status.model_copy(update={"phase": BuildPhase.FAILED})
    await hooked.store.update_status(polled.with_status(failed))

    answer = await push(hooked, "app", "plain", "github")

    assert (answer.status, answer.json["metadata"]["name"]) == (200, "app-2")


async def test_a_push_after_a_change_of_the_configuration_builds_its_commit_again(
    hooked: Api,
) -> None:
    await polled_build(hooked)
    config = await hooked.store.get(BuildConfig, "shop", "app")
    strategy = BuildStrategy(docker_strategy=DockerBuildStrategy(no_cache=True))
    spec = config.spec.model_copy(update={"strategy": strategy})
    await hooked.store.update(config.model_copy(update={"spec": spec}))

    answer = await push(hooked, "app", "plain", "github")

    assert (answer.status, answer.json["metadata"]["name"]) == (200, "app-2")


async def test_a_build_of_openshift_3s_address_is_the_same(hooked: Api) -> None:
    path = "/oapi/v1/namespaces/shop/buildconfigs/app/webhooks/plain/github"
    assert (await hooked.send("POST", path, PUSH, **GITHUB)).status == 200


@pytest.mark.parametrize(
    ("name", "secret", "hook"),
    [
        ("app", "wrong", "github"),
        ("app", "plain", "gitlab"),
        ("app", "plain", "bitbucket"),
        ("app", "", "github"),
        ("other", "plain", "github"),
    ],
)
async def test_what_is_wrong_with_a_secret_is_not_told(
    hooked: Api, name: str, secret: str, hook: str
) -> None:
    answer = await push(hooked, name, secret or "%20", hook)

    assert answer.status == 401
    assert answer.json["reason"] == "Unauthorized"
    assert answer.json["message"] == (
        f'the webhook "{hook}" for "{name}" did not accept your secret'
    )
    assert await builds(hooked) == []


async def test_a_wrong_signature_is_answered_as_a_wrong_secret(hooked: Api) -> None:
    answer = await hooked.send(
        "POST",
        f"{CONFIGS}/app/webhooks/plain/github",
        PUSH,
        X_GitHub_Event="push",
        X_Hub_Signature_256="sha256=00",
    )
    assert answer.status == 401
    assert await builds(hooked) == []


@pytest.mark.parametrize("signature", ["sha256=" + "0" * 64, "sha256=", "md5=x", "\u00e9", ""])
async def test_a_signature_that_proves_nothing_is_refused(hooked: Api, signature: str) -> None:
    path = f"{CONFIGS}/app/webhooks/plain/github"
    headers = GITHUB | {"X_Hub_Signature_256": signature}
    assert (await hooked.send("POST", path, PUSH, **headers)).status == 401
    assert await builds(hooked) == []


@pytest.mark.parametrize(("secret", "status"), [("plain", 413), ("wrong", 401)])
async def test_a_huge_body_is_refused_and_a_strangers_is_not_read(
    hooked: Api, secret: str, status: int
) -> None:
    huge = b'{"ref": "' + b"x" * 2 * 1024 * 1024 + b'"}'
    path = f"{CONFIGS}/app/webhooks/{secret}/github"
    answer = await hooked.send("POST", path, huge, "application/json", **GITHUB)
    assert answer.status == status
    assert await builds(hooked) == []


DEEP = [b"[" * 100_000, b'{"a":' * 100_000]


@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects"])
async def test_json_without_a_bottom_is_refused(hooked: Api, deep: bytes) -> None:
    path = f"{CONFIGS}/app/webhooks/plain/github"
    answer = await hooked.send("POST", path, deep, "application/json", **GITHUB)
    assert answer.status == 400
    assert "the payload is not JSON" in answer.json["message"]
    assert await builds(hooked) == []


@pytest.mark.parametrize("media_type", ["application/json", "application/yaml"])
@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects"])
async def test_a_generic_payload_without_a_bottom_is_passed_over(
    hooked: Api, deep: bytes, media_type: str
) -> None:
    answer = await hooked.send("POST", f"{CONFIGS}/app/webhooks/open/generic", deep, media_type)
    assert answer.status == 200
    [warning] = answer.warnings
    assert "ignoring payload and continuing with build" in warning


async def test_a_secret_may_be_kept_in_a_secret(hooked: Api) -> None:
    body = {"ref": "refs/heads/master", "after": "abc", "commits": []}
    path = f"{CONFIGS}/app/webhooks/named/gitlab"
    answer = await hooked.send("POST", path, body, X_Gitlab_Event="Push Hook")
    assert answer.status == 200
    assert answer.json["kind"] == "Build"


async def test_another_branch_is_answered_200_and_nothing_is_built(hooked: Api) -> None:
    other = PUSH | {"ref": "refs/heads/side"}
    path = f"{CONFIGS}/app/webhooks/plain/github"
    answer = await hooked.send("POST", path, other, **GITHUB)

    assert answer.status == 200
    assert answer.json["kind"] == "Status"
    assert answer.json["status"] == "Success"
    assert answer.json["message"].startswith("skipping build. Branch reference from")
    assert await builds(hooked) == []


async def test_a_build_that_may_not_be_is_the_servers_fault_as_in_openshift(hooked: Api) -> None:
    config = await hooked.store.get(BuildConfig, "shop", "app")
    await hooked.store.update(config.with_metadata(annotations={PAUSED_ANNOTATION: "true"}))
    answer = await push(hooked, "app", "plain", "github")
    assert answer.status == 500
    assert answer.json["message"] == (
        "Internal error occurred: could not generate a build: can't instantiate from"
        " BuildConfig shop/app: BuildConfig is paused"
    )


async def test_githubs_ping_is_answered_200_without_a_body(hooked: Api) -> None:
    path = f"{CONFIGS}/app/webhooks/plain/github"
    answer = await hooked.send("POST", path, {"zen": "."}, X_GitHub_Event="ping")
    assert (answer.status, answer.text) == (200, "")
    assert await builds(hooked) == []


async def test_an_unreadable_generic_payload_builds_and_warns(hooked: Api) -> None:
    path = f"{CONFIGS}/app/webhooks/open/generic"
    answer = await hooked.send("POST", path, b'{"a', content_type="application/json")

    assert answer.status == 200
    assert answer.json["kind"] == "Build"
    [warning] = answer.warnings
    assert "ignoring payload and continuing with build" in warning


async def test_other_kinds_and_methods_are_refused(hooked: Api) -> None:
    unknown = await push(hooked, "app", "plain", "svn")
    assert unknown.status == 404
    assert unknown.json["message"] == 'buildconfighook.build.openshift.io "svn" not found'
    assert (await hooked.get(f"{CONFIGS}/app/webhooks/plain/github")).status == 405
    bad = await hooked.send("POST", f"{CONFIGS}/app/webhooks/plain/github", {})
    assert bad.status == 400
    assert "X-GitHub-Event" in bad.json["message"]


async def test_the_access_log_never_has_the_secret(
    hooked: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "upwell.server.auth.middleware"):
        await push(hooked, "app", "plain", "github")
    lines = [json.dumps(record.__dict__, default=str) for record in caplog.records]
    assert lines
    assert not any("plain" in line for line in lines)
