"""Webhooks of git servers: the revision that a BuildConfig is to build, or why none.

Answers as OpenShift does (build/v1 webhooks). Secrets come in as values; nothing here reads them.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import StrEnum
from typing import Any

from upwell.api.builds.build import (
    BuildRequest,
    BuildTriggerCause,
    DockerStrategyOptions,
    WebHookCause,
)
from upwell.api.builds.config import BuildConfig, WebHookTrigger
from upwell.api.builds.inputs import GitSourceRevision, SourceControlUser, SourceRevision
from upwell.api.manifests import parse_manifests
from upwell.api.pod_template import EnvVar

SECRET_KEY = "WebHookSecretKey"  # noqa: S105 - the key in a Secret, not its value
DEFAULT_REF = "master"
_BRANCH = "refs/heads/"
_HIDDEN = "<secret>"
_JSON, _YAML = "application/json", "application/yaml"


class Hook(StrEnum):
    """The kinds of webhooks, as the last step of their URL names them."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    GENERIC = "generic"

    @property
    def trigger_type(self) -> str:
        """The type of the trigger that enables it."""
        return {"github": "GitHub", "gitlab": "GitLab", "bitbucket": "Bitbucket"}.get(
            self, "Generic"
        )


class BadHookError(ValueError):
    """The request is none that this kind of webhook sends: HTTP 400."""


class WrongSecretError(Exception):
    """The signature is not that of the trigger's secret: HTTP 401, as for a wrong secret."""


@dataclass(frozen=True, slots=True)
class HookCall:
    """One request: header names in lower case."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters."""
        message = Message()
        message["Content-Type"] = self.headers.get("content-type", "")
        return message.get_content_type() if self.headers.get("content-type") else ""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Start a build; `warning` is what the caller should know."""

    request: BuildRequest
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """Start nothing and answer 200; `message` may be empty."""

    message: str = ""


def matching_trigger(
    config: BuildConfig, hook: Hook, secret: str, secrets: Mapping[str, bytes]
) -> tuple[WebHookTrigger, bytes] | None:
    """Return the trigger that `secret` opens, with its secret; None if there is none.

    `secrets` has the values of the Secrets that triggers name, by name.
    """
    for trigger in config.spec.triggers:
        if trigger.type != hook.trigger_type or trigger.webhook is None:
            continue
        named = trigger.webhook.secret_reference
        for known in (
            (trigger.webhook.secret or "").encode(),
            secrets.get(named.name, b"") if named else b"",
        ):
            if known and hmac.compare_digest(known, secret.encode()):
                return trigger.webhook, known
    return None


def read_call(
    config: BuildConfig, hook: Hook, trigger: WebHookTrigger, secret: bytes, call: HookCall
) -> Proceed | Skip:
    """Say what `call` asks for; raises BadHookError or WrongSecretError."""
    match hook:
        case Hook.GITHUB:
            _check_signature(secret, call)
            return _github(config, call)
        case Hook.GITLAB:
            return _gitlab(config, call)
        case Hook.BITBUCKET:
            return _bitbucket(config, call)
        case Hook.GENERIC:
            return _generic(config, trigger, call)


def _check_signature(secret: bytes, call: HookCall) -> None:
    """Check GitHub's signature of the body, when it sends one."""
    given = call.headers.get("x-hub-signature-256")
    if given is None:
        return
    wanted = "sha256=" + hmac.new(secret, call.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise WrongSecretError


def _github(config: BuildConfig, call: HookCall) -> Proceed | Skip:
    _require_json(call)
    event = call.headers.get("x-github-event") or call.headers.get("x-gogs-event") or ""
    if not event:
        raise BadHookError("missing X-GitHub-Event or X-Gogs-Event")
    if event == "ping":
        return Skip()
    if event != "push":
        raise BadHookError(f"Unknown X-GitHub-Event or X-Gogs-Event {event}")
    push = _document(call)
    ref = _text(push, "ref")
    if not ref_matches(ref, config):
        return _other_ref(ref)
    if push.get("deleted") is True:
        return Skip(f"skipping build. {ref!r} was deleted")
    head = _part(push, "head_commit")
    commits = push.get("commits")
    if not head and isinstance(commits, list) and commits and isinstance(commits[-1], dict):
        head = commits[-1]  # Gogs and Gitea name no head
    return _proceed(Hook.GITHUB, head, commit=_text(head, "id") or _text(push, "after"))


def _gitlab(config: BuildConfig, call: HookCall) -> Proceed | Skip:
    _require_json(call)
    event = call.headers.get("x-gitlab-event", "")
    if not event:
        raise BadHookError("missing X-Gitlab-Event")
    if event != "Push Hook":
        raise BadHookError(f"Unknown X-Gitlab-Event {event}")
    push = _document(call)
    ref = _text(push, "ref")
    if not ref_matches(ref, config):
        return _other_ref(ref)
    after = _text(push, "checkout_sha") or _text(push, "after")
    if not after.strip("0"):
        return Skip(f"skipping build. {ref!r} was deleted")
    commits = [c for c in push.get("commits") or () if isinstance(c, dict)]
    head = next((c for c in commits if c.get("id") == after), {})
    return _proceed(Hook.GITLAB, head, commit=after)


def _bitbucket(config: BuildConfig, call: HookCall) -> Proceed | Skip:
    _require_json(call)
    event = call.headers.get("x-event-key", "")
    if not event:
        raise BadHookError("missing X-Event-Key")
    if event == "diagnostics:ping":
        return Skip()
    if event not in {"repo:push", "repo:refs_changed"}:
        raise BadHookError(f"Unknown X-Event-Key {event}")
    push = _document(call)
    changes = _part(push, "push").get("changes") or push.get("changes") or []
    seen = []
    for change in changes if isinstance(changes, list) else []:
        if not isinstance(change, dict):
            continue
        new, moved = _part(change, "new"), _part(change, "ref")
        ref = _text(new, "name") or _text(moved, "id") or _text(moved, "displayId")
        seen.append(ref)
        if not ref or not ref_matches(ref, config):
            continue
        target = _part(new, "target")
        commit = _text(target, "hash") or _text(change, "toHash")
        if not commit.strip("0"):
            return Skip(f"skipping build. {ref!r} was deleted")
        return _proceed(Hook.BITBUCKET, _bitbucket_commit(target, push), commit=commit)
    return _other_ref(", ".join(ref for ref in seen if ref))


def _bitbucket_commit(target: Mapping[str, Any], push: Mapping[str, Any]) -> dict[str, Any]:
    """Return a commit in the form of the others: the author is `NAME <EMAIL>`, or the pusher."""
    raw = _text(_part(target, "author"), "raw")
    name, _, rest = raw.partition("<")
    actor = _part(push, "actor")
    author = {
        "name": name.strip() or _text(actor, "displayName") or _text(actor, "display_name"),
        "email": rest.partition(">")[0] or _text(actor, "emailAddress"),
    }
    return {"author": author, "message": _text(target, "message")}


def _generic(config: BuildConfig, trigger: WebHookTrigger, call: HookCall) -> Proceed | Skip:
    """A payload is optional: what cannot be used is a warning, and the build starts."""
    try:
        payload = _payload(call)
    except ValueError as error:
        return Proceed(_request(Hook.GENERIC, None, {}), str(error).partition("\n")[0])
    changes = _requested(payload, allow_env=bool(trigger.allow_env))
    if config.spec.source.git is None or not call.body:
        return Proceed(_request(Hook.GENERIC, None, changes))
    git = _part(payload, "git")
    if not git:
        warning = "no git information found in payload, ignoring and continuing with build"
        return Proceed(_request(Hook.GENERIC, None, changes), warning)
    refs = git.get("refs")
    pushed = [r for r in refs if isinstance(r, dict)] if isinstance(refs, list) else [git]
    for entry in pushed:
        if ref_matches(_text(entry, "ref"), config):
            return _proceed(Hook.GENERIC, entry, commit=_text(entry, "commit"), **changes)
    if isinstance(refs, list):
        wanted = config.spec.source.git.ref or ""
        return Skip(f'skipping build. None of the supplied refs matched "{wanted}"')
    return _other_ref(_text(git, "ref"))


def _payload(call: HookCall) -> dict[str, Any]:
    """Return a generic payload, empty if there is none; raises ValueError with the warning."""
    if not call.body:
        return {}
    if call.media_type not in {_JSON, _YAML}:
        raise ValueError(
            "invalid Content-Type on payload, ignoring payload and continuing with build"
        )
    as_json = call.media_type == _JSON
    try:
        payload = json.loads(call.body) if as_json else parse_manifests(call.body.decode(), "it")
    except (ValueError, RecursionError) as error:
        what = "unmarshalling payload" if as_json else "converting payload to json"
        raise ValueError(
            f"error {what}: {error}, ignoring payload and continuing with build"
        ) from error
    if isinstance(payload, list) and len(payload) == 1:
        payload = payload[0]
    if not isinstance(payload, dict):
        raise ValueError(  # noqa: TRY004 - a warning for the caller, not a programming fault
            "error unmarshalling payload: expected one object,"
            " ignoring payload and continuing with build"
        )
    return payload


def ref_matches(ref: str, config: BuildConfig) -> bool:
    """Return True if an event about `ref` concerns the BuildConfig's branch (default: master)."""
    git = config.spec.source.git
    wanted = (git.ref if git else None) or DEFAULT_REF
    return ref.removeprefix(_BRANCH) == wanted.removeprefix(_BRANCH)


def _other_ref(ref: str) -> Skip:
    return Skip(f'skipping build. Branch reference from "{ref}" does not match configuration')


def _requested(payload: Mapping[str, Any], *, allow_env: bool) -> dict[str, Any]:
    """Return what a generic payload changes of the build, as far as it is allowed and valid."""
    changes: dict[str, Any] = {}
    if allow_env and (env := _variables(payload.get("env"))):
        changes["env"] = env
    options = _part(payload, "dockerStrategyOptions")
    if options:
        no_cache = options.get("noCache")
        changes["docker_strategy_options"] = DockerStrategyOptions(
            build_args=_variables(options.get("buildArgs")),
            no_cache=no_cache if isinstance(no_cache, bool) else None,
        )
    return changes


def _variables(value: object) -> tuple[EnvVar, ...]:
    return tuple(
        EnvVar(name=entry["name"], value=_text(entry, "value"))
        for entry in (value if isinstance(value, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and entry["name"]
    )


def _proceed(hook: Hook, head: Mapping[str, Any], *, commit: str, **changes: Any) -> Proceed:
    if not commit:
        return Proceed(_request(hook, None, changes))
    author, committer = _person(head, "author"), _person(head, "committer")
    revision = SourceRevision.of_git(
        GitSourceRevision(
            commit=commit,
            author=author,
            committer=committer if committer.model_fields_set else author,
            message=_text(head, "message"),
        )
    )
    return Proceed(_request(hook, revision, changes))


def _request(
    hook: Hook, revision: SourceRevision | None, changes: Mapping[str, Any]
) -> BuildRequest:
    return BuildRequest(revision=revision, triggered_by=(_cause(hook, revision),), **changes)


def _cause(hook: Hook, revision: SourceRevision | None) -> BuildTriggerCause:
    cause = WebHookCause(revision=revision, secret=_HIDDEN)
    match hook:
        case Hook.GITHUB:
            return BuildTriggerCause(message="GitHub WebHook", github_web_hook=cause)
        case Hook.GITLAB:
            return BuildTriggerCause(message="GitLab WebHook", gitlab_web_hook=cause)
        case Hook.BITBUCKET:
            return BuildTriggerCause(message="Bitbucket WebHook", bitbucket_web_hook=cause)
        case Hook.GENERIC:
            return BuildTriggerCause(message="Generic WebHook", generic_web_hook=cause)


def _person(commit: Mapping[str, Any], role: str) -> SourceControlUser:
    person = _part(commit, role)
    found = {key: _text(person, key) for key in ("name", "email")}
    return SourceControlUser(**{key: text for key, text in found.items() if text})


def _require_json(call: HookCall) -> None:
    if call.media_type != _JSON:
        raise BadHookError(f"unsupported Content-Type {call.headers.get('content-type', '')}")


def _document(call: HookCall) -> dict[str, Any]:
    try:
        document = json.loads(call.body)
    except (ValueError, RecursionError) as error:
        raise BadHookError(f"the payload is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadHookError("the payload is not a JSON object")
    return document


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
