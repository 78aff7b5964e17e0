"""The answer to a change of the base that a BuildConfig's image stands on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from upwell.api.build import Build, BuildConfig, BuildTriggerCause
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, OnBaseChange
from upwell.policy.builds.run_policy import newest
from upwell.policy.builds.triggers import FollowedTag
from upwell.policy.images.streams import StreamTag

_REBASES = frozenset({OnBaseChange.AUTO, OnBaseChange.REBASE})


def answer_of(config: BuildConfig, default: OnBaseChange) -> OnBaseChange:
    """Return how `config` answers a change of its base; `default` is the server's answer."""
    wanted = config.annotations.get(ON_BASE_CHANGE_ANNOTATION)
    return next((one for one in OnBaseChange if one == wanted), default)


def base_tag(config: BuildConfig, builds: Iterable[Build]) -> str:
    """Return the tag that gives `config` its base, `NAMESPACE/STREAM:TAG`; empty: none is known.

    The base of a Dockerfile without an image of the strategy's is what its newest build found.
    """
    base = config.spec.strategy.base
    if base is not None:
        is_tag = base.kind == IMAGE_STREAM_TAG
        return str(StreamTag.of(base, config.namespace)) if is_tag else ""
    last = newest([build for build in builds if build.status.images])
    found = (image.stream_tag for image in last.status.images if image.final) if last else ()
    return next(filter(None, found), "")


def with_notified_base(
    config: BuildConfig,
    builds: Iterable[Build],
    images: Sequence[FollowedTag],
    default: OnBaseChange,
) -> list[FollowedTag]:
    """Return followed images; those of a base whose changes start nothing are marked."""
    if answer_of(config, default) is not OnBaseChange.NOTIFY:
        return list(images)
    base = base_tag(config, builds)
    return [replace(one, notified=one.built is not None and one.name == base) for one in images]


def rebase_answer(
    config: BuildConfig,
    builds: Iterable[Build],
    causes: Sequence[BuildTriggerCause],
    default: OnBaseChange,
) -> OnBaseChange | None:
    """Return the answer to `causes` that is no plain build; None: build."""
    answer, base = answer_of(config, default), base_tag(config, builds)
    only_base = bool(causes) and bool(base) and all(name == base for name in _names(causes))
    return answer if only_base and answer in _REBASES else None


def _names(causes: Iterable[BuildTriggerCause]) -> Iterator[str]:
    """Yield the tags whose change each cause is; what is no change of an image has none."""
    for cause in causes:
        change = cause.image_change_build
        reference = change.from_ref if change is not None and change.previous_image_id else None
        yield f"{reference.namespace}/{reference.name}" if reference is not None else ""
