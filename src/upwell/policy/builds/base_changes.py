"""The answer to a change of the base that a BuildConfig's image stands on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from upwell.api.builds.build import Build, BuildPhase, BuildTriggerCause
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import CommonSpec
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, OnBaseChange
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.builds.run_policy import newest
from upwell.policy.builds.triggers import FollowedTag
from upwell.policy.images.streams import StreamTag

_REBASES = frozenset({OnBaseChange.AUTO, OnBaseChange.REBASE})


def answer_of(config: BuildConfig, default: OnBaseChange) -> OnBaseChange:
    """Return how `config` answers a change of its base; `default` is the server's answer."""
    wanted = config.annotations.get(ON_BASE_CHANGE_ANNOTATION)
    if wanted is None:
        return default
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


def rebase_obstacle(spec: CommonSpec) -> str:
    """Say why no image of such builds can be put on another base; empty: some may."""
    hook, target = spec.post_commit, spec.output.to
    if spec.strategy.custom_strategy is not None:
        return "of a custom build, nobody knows what its image is made of"
    if hook is not None and (hook.script or hook.command or hook.args):
        return "its spec.postCommit is run in what is built, before that is pushed"
    if target is None:
        return "its result goes nowhere"
    return ""


def output_elsewhere(spec: CommonSpec) -> Reference | None:
    """Return the tag of another registry that builds push to; None: they do not."""
    target = spec.output.to
    if target is None or target.kind == IMAGE_STREAM_TAG:
        return None
    try:
        named = Reference.parse(target.name)
    except InvalidReferenceError:
        return None
    return named if named.tag else named.with_tag("latest")


@dataclass(frozen=True, slots=True)
class BaseForecast:
    """Answer that a BuildConfig will give to a change, as far as it is known beforehand."""

    answer: OnBaseChange = OnBaseChange.REBUILD
    against: str = ""
    """Reason for which its image will not be put on the new base."""
    registry: str = ""
    """Registry that the image goes to, if that is not the server's own."""

    @property
    def rebases(self) -> bool:
        """True if the image may be put on the new base: the layers decide when it comes."""
        return self.answer in _REBASES and not self.against


def forecast(config: BuildConfig, builds: Sequence[Build], sources: Iterable[str]) -> BaseForecast:
    """Return how `config` answers a change of the tags `sources`; `builds` are its own."""
    known = config.status.on_base_change
    default = next((one for one in OnBaseChange if one == known), OnBaseChange.REBUILD)
    answer = answer_of(config, default)
    if answer is OnBaseChange.REBUILD:
        return BaseForecast()
    base = base_tag(config, builds)
    if not base or any(one != base for one in sources):
        return BaseForecast()
    last = newest([build for build in builds if build.status.phase is BuildPhase.COMPLETE])
    against = rebase_obstacle(config.spec) or ("" if last else "no earlier build of it is kept")
    tried = newest([build for build in builds if build.status.rebase is not None])
    if not against and tried is not None and tried.status.rebase is not None:
        against = tried.status.rebase.message or ""
    elsewhere = output_elsewhere(config.spec)
    return BaseForecast(answer, against, elsewhere.registry if elsewhere is not None else "")


def _names(causes: Iterable[BuildTriggerCause]) -> Iterator[str]:
    """Yield the tags whose change each cause is; what is no change of an image has none."""
    for cause in causes:
        change = cause.image_change_build
        reference = change.from_ref if change is not None and change.previous_image_id else None
        yield f"{reference.namespace}/{reference.name}" if reference is not None else ""
