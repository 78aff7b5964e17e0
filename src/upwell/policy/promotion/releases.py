"""Releases: when the images of a Pipeline's components make a new one, and which must not go on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import (
    PIPELINE_LABEL,
    BaseImage,
    Component,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    PromotionStatus,
    Purpose,
    Rejection,
    Release,
    ReleasePhase,
    ReleaseSpec,
    ReleaseStatus,
)
from upwell.api.values.author import made_of
from upwell.api.values.commits import short_commit
from upwell.policy.builds.triggers import digest_of

_NEW = PromotionStatus(phase=PromotionPhase.WAITING)


@dataclass(frozen=True, slots=True)
class NextRelease:
    """The Release that is due, or what it waits for; neither when nothing has changed."""

    release: Release | None = None
    waits_for: str = ""
    since: datetime | None = None
    """Since when it waits for the builds of other components."""
    until: datetime | None = None
    missing: tuple[str, ...] = ()
    """Components whose tag has no image, or does not exist."""

    def kept_back(self, why: str) -> Self:
        """Return the same without a Release, which waits for `why`."""
        waits_for = "; ".join(one for one in (self.waits_for, why) if one)
        return replace(self, release=None, waits_for=waits_for)


def next_release(
    pipeline: Pipeline,
    components: Mapping[str, Component | None],
    coming: Sequence[str],
    releases: Sequence[Release],
    now: datetime,
) -> NextRelease:
    """Say whether the images that the components' tags name now make a Release.

    One change of a base image rebuilds several components: while `coming` names builds that are
    still to end, the Release waits for them, but no longer than `coalesceSeconds`.
    """
    missing = [name for name, component in components.items() if component is None]
    if missing:
        waits_for = f"an image of component {', '.join(missing)}"
        return NextRelease(waits_for=waits_for, missing=tuple(missing))
    found = tuple(one for one in components.values() if one is not None)
    last = max(releases, key=_number, default=None)
    if not found or (last is not None and digests_of(last.spec.components) == digests_of(found)):
        return NextRelease()
    since = pipeline.status.coalescing_since or now
    until = since + timedelta(seconds=pipeline.spec.coalesce_seconds)
    if coming and now < until:
        return NextRelease(waits_for="; ".join(coming), since=since, until=until)
    return NextRelease(_release(pipeline, found, last))


def digests_of(components: Iterable[Component]) -> frozenset[tuple[str, str]]:
    """Return what makes two Releases the same: each component's digest."""
    return frozenset((one.name, digest_of(one.image) or one.image) for one in components)


def rejection_of(release: Release, releases: Iterable[Release]) -> Rejection | None:
    """Return why `release` must not go on: its own rejection, or that of the same digests."""
    if release.status.rejection is not None:
        return release.status.rejection
    same = digests_of(release.spec.components)
    for other in releases:
        rejection = other.status.rejection
        if rejection is not None and digests_of(other.spec.components) == same:
            reason = f"the same images were rejected as {other.name}: {rejection.reason}"
            return rejection.model_copy(update={"reason": reason})
    return None


def found_rejection(release: Release, promotions: Iterable[Promotion]) -> Rejection | None:
    """Return the rejection that a failed or refused promotion of `release` asks for.

    What went wrong before a person restored the Release counts no more.
    """
    restored = release.status.restored
    for one in promotions:
        ended = one.status.ended
        bad = {PromotionPhase.FAILED, PromotionPhase.REJECTED}
        if (
            one.spec.release == release.name
            and one.spec.purpose is Purpose.PROMOTE
            and one.status.phase in bad
            and ended is not None
            and (restored is None or ended > restored)
        ):
            return Rejection(reason=one.status.message, stage=one.spec.stage, at=ended)
    return None


def rejected(release: Release, rejection: Rejection) -> Release:
    """Return a Release that goes into no later stage; the first rejection stands."""
    if release.status.rejection is not None:
        return release
    return _with_fate(
        release, phase=ReleasePhase.REJECTED, rejection=rejection, message=rejection.reason
    )


def restored(release: Release, by: str, reason: str, at: datetime) -> Release:
    """Return a Release without its rejection; the same when it has none."""
    if release.status.rejection is None:
        return release
    return _with_fate(
        release,
        phase=ReleasePhase.WAITING,
        rejection=None,
        restored=at,
        message=f"restored by {by}: {reason}",
    )


def restoration_time(now: datetime, promotions: Iterable[Promotion]) -> datetime:
    """Return `now`, or the end of the last promotion if the clock has gone back since.

    A restoration comes after all that went wrong before it.
    """
    return max([now, *(one.status.ended for one in promotions if one.status.ended)])


def with_same_images(release: Release, releases: Iterable[Release]) -> list[Release]:
    """Return the other Releases that have the images of `release`."""
    images = digests_of(release.spec.components)
    return [
        one
        for one in releases
        if one.name != release.name and digests_of(one.spec.components) == images
    ]


def new_promotion(
    pipeline: Pipeline, release: Release, spec: PromotionSpec, promotions: Iterable[Promotion]
) -> Promotion:
    """Return a Promotion under the next free name of its Release and stage.

    Made twice from the same state, it is the same: the second attempt to create it finds the first.
    """
    taken = {one.name for one in promotions}
    stem = f"{release.name}.{spec.stage}"
    number = next(n for n in range(1, len(taken) + 2) if _numbered(stem, n) not in taken)
    metadata = ObjectMeta(
        name=_numbered(stem, number),
        namespace=pipeline.namespace,
        labels={PIPELINE_LABEL: pipeline.name},
        owner_references=(release.owner_reference(),),
    )
    return made_of(Promotion(metadata=metadata, spec=spec, status=_NEW), pipeline)


def new_bases(release: Release, releases: Iterable[Release]) -> tuple[BaseImage, ...]:
    """Return the base images that `release` has and the last verified one before it had not."""
    earlier = [
        one
        for one in releases
        if one.spec.number < release.spec.number and one.status.verified and not _rejected(one)
    ]
    before = max(earlier, key=_number, default=None)
    if before is None:
        return ()  # nothing to compare with: nobody can tell what is new
    known = {base.digest for base in _bases(before)}
    fresh = {base.digest: base for base in _bases(release) if base.digest not in known}
    return tuple(fresh.values())


def _release(
    pipeline: Pipeline, components: tuple[Component, ...], last: Release | None
) -> Release:
    number = last.spec.number + 1 if last is not None else 1
    release = Release(
        metadata=ObjectMeta(
            name=f"{pipeline.name}-{number}",
            namespace=pipeline.namespace,
            labels={PIPELINE_LABEL: pipeline.name},
            owner_references=(pipeline.owner_reference(),),
        ),
        spec=ReleaseSpec(
            pipeline=pipeline.name,
            number=number,
            components=components,
            cause=_cause(components, last),
        ),
    )
    return made_of(release, pipeline)


def _cause(components: Sequence[Component], last: Release | None) -> str:
    """Say what changed: new base images first, since they are what it is all about."""
    if last is None:
        return "the first images of all components"
    before = {one.name: one for one in last.spec.components}
    parts: list[str] = []
    for one in components:
        old = before.get(one.name)
        if old is not None and digest_of(old.image) == digest_of(one.image):
            continue
        known = {base.digest for base in old.bases} if old is not None else set()
        fresh = [base.image for base in one.bases if base.digest not in known]
        if old is None:
            why = "new"
        elif fresh:
            why = f"new base {', '.join(fresh)}"
        elif old.revision != one.revision:
            was, now = (short_commit(known.revision) or "unknown" for known in (old, one))
            why = f"commit {was} -> {now}"
        else:
            why = "new image"
        parts.append(f"{one.name}: {why}")
    parts += [f"{name}: removed" for name in before if name not in {c.name for c in components}]
    return "; ".join(parts)


def _with_fate(release: Release, **fields: object) -> Release:
    status: ReleaseStatus = release.status.model_copy(update=fields)
    return release.with_status(status)


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}.{number}"


def _bases(release: Release) -> list[BaseImage]:
    return [base for component in release.spec.components for base in component.bases]


def _rejected(release: Release) -> bool:
    return release.status.rejection is not None


def _number(release: Release) -> int:
    return release.spec.number
