"""Builds that a person or a webhook asks for: whether they may be, and what they are; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.api.builds.build import Build, BuildPhase, BuildRequest, BuildTriggerCause
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.policy.builds.commits.following import look_of
from upwell.policy.builds.new_build import (
    BuildStart,
    Earlier,
    UnresolvedInputError,
    clone_build,
    new_build,
    unsupported_options,
)
from upwell.policy.builds.run_policy import newest
from upwell.policy.builds.triggers import MANUAL, FollowedTag, Streams

_DIFFERS = {"revision", "triggered_by", "forced", "on_base_change"}
"""Fields of a Build's spec that may differ between two builds of equal inputs."""


class BuildRefusedError(Exception):
    """No build is started; the message names the object and says why."""


@dataclass(frozen=True, slots=True)
class RequestedBuild:
    """A request for a build."""

    request: BuildRequest
    decided_by: str = ""
    """Name of the client, if they say what is built."""


def requested_build(
    config: BuildConfig,
    streams: Streams,
    earlier: Earlier,
    images: Sequence[FollowedTag],
    asked: RequestedBuild,
) -> Build:
    """Return the build of `config` that is asked for; raises BuildRefusedError."""
    _require_running(config, "instantiate")
    _require_version(config, asked.request.last_version)
    try:
        return new_build(config, streams, earlier, images, _start(asked))
    except UnresolvedInputError as error:
        raise BuildRefusedError(f"{config.key} cannot be built: {error}") from error


def repeated_build(config: BuildConfig, asked: Build, earlier: Earlier) -> Build | None:
    """Return the newest build if a webhook asks by `asked` for the same again; None: it does not.

    A look at the repository may have found the commit before the webhook came. One that failed is
    built again.
    """
    last = newest(earlier.builds)
    commit = asked.revision.commit
    if last is None or not commit or look_of(config) is None:
        return None
    phase = last.status.phase
    if not any(map(_is_webhook, asked.spec.triggered_by)) or last.revision.commit != commit:
        return None
    if phase.is_terminal and phase is not BuildPhase.COMPLETE:
        return None
    inputs = [one.spec.model_dump(exclude=_DIFFERS) for one in (last, asked)]
    return last if inputs[0] == inputs[1] else None


def requested_clone(
    original: Build, config: BuildConfig | None, earlier: Earlier, asked: RequestedBuild
) -> Build:
    """Return a Build that makes `original` again; raises BuildRefusedError.

    `config` is its BuildConfig, if it still exists.
    """
    if config is not None:
        _require_running(config, "clone")
    return clone_build(original, config, earlier, _start(asked))


def require_effect(target: BuildConfig | Build, request: BuildRequest) -> None:
    """Refuse a person's options without effect; a webhook's may have none.

    Raises BuildRefusedError.
    """
    unsupported = unsupported_options(target.spec, request) if _is_forced(request) else ()
    if unsupported:
        raise BuildRefusedError(f"{target.key} cannot be built like this: {'; '.join(unsupported)}")


def _start(asked: RequestedBuild) -> BuildStart:
    request = asked.request
    return BuildStart(_causes(request), request, _is_forced(request), asked.decided_by)


def _causes(request: BuildRequest) -> tuple[BuildTriggerCause, ...]:
    return request.triggered_by or (BuildTriggerCause(message=MANUAL),)


def _is_forced(request: BuildRequest) -> bool:
    return not request.unless_built and not any(map(_is_webhook, _causes(request)))


def _is_webhook(cause: BuildTriggerCause) -> bool:
    """Return True if a machine asks: it may ask twice for one commit, which is built once."""
    hooks = (
        cause.generic_web_hook,
        cause.github_web_hook,
        cause.gitlab_web_hook,
        cause.bitbucket_web_hook,
    )
    return any(hook is not None for hook in hooks)


def _require_running(config: BuildConfig, verb: str) -> None:
    if config.annotations.get(PAUSED_ANNOTATION) == "true":
        where = f"{config.namespace}/{config.name}"
        raise BuildRefusedError(f"can't {verb} from BuildConfig {where}: BuildConfig is paused")


def _require_version(config: BuildConfig, asked: int | None) -> None:
    have = config.status.last_version
    if asked is not None and asked != have:
        raise BuildRefusedError(
            f"the LastVersion({have}) on build config {config.namespace}/{config.name} does not"
            f" match the build request LastVersion({asked})"
        )
