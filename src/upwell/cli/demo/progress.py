"""Progress of the fix since its publication: the timeline. Pure: no clock, no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.cli.demo.load import LoadStats
from upwell.cli.demo.observed import (
    APPLICATIONS,
    BUILDER,
    CONFIGS,
    GATE,
    PRODUCTION,
    SHOP,
    STAGES,
    Observed,
)
from upwell.oci import Digest
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import output_digest, short
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.summary import RolloutState, rollout_of


@dataclass(frozen=True, slots=True)
class Publication:
    """Publication of the fix by the vendor, and the state before."""

    at: datetime
    old: Digest
    new: Digest
    old_glibc: str
    new_glibc: str
    builds_before: frozenset[str]
    """Names of the builds before the publication."""


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """Point of the timeline."""

    at: datetime
    what: str


class FixProgress:
    """Progress of the fix through builds, promotions and rollouts, from observed objects."""

    def __init__(
        self, publication: Publication, observed: Observed, load_stats: Mapping[str, LoadStats]
    ) -> None:
        self.publication = publication
        self.observed = observed
        self.load_stats = load_stats

    @property
    def requests(self) -> int:
        """Number of requests of the load."""
        return sum(stats.requests for stats in self.load_stats.values())

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(stats.failed for stats in self.load_stats.values())

    def builds(self, config: str) -> Sequence[Build]:
        """Return the builds of a BuildConfig that the fix started."""
        before = self.publication.builds_before
        return [build for build in self.observed.builds(config) if build.name not in before]

    def release(self, application: str) -> Release | None:
        """Return the Release of the image that the fix's build made."""
        made = {output_digest(build) for build in self.builds(application)} - {""}
        return self.observed.release(made) if made else None

    def release_before(self, application: str) -> Release | None:
        """Return the Release of the image from before the fix."""
        before = self.publication.builds_before
        builds = [one for one in self.observed.builds(application) if one.name in before]
        made = {output_digest(build) for build in builds} - {""}
        return self.observed.release(made) if made else None

    def promotion(self, application: str, stage: str) -> Promotion | None:
        """Return the promotion of the fix's Release into a stage."""
        release = self.release(application)
        return self.observed.promotion(release.name, stage) if release is not None else None

    def runs(self, application: str, stage: str, release: Release | None) -> bool:
        """Return whether a stage runs the image of a Release alone."""
        workload = self.observed.workload(application, stage)
        newest = next(iter(workload.status.revisions if workload else ()), None)
        if release is None or newest is None or newest.phase != Phase.COMPLETE:
            return False
        wanted = {digest_of(one.image) for one in release.spec.components}
        return {digest_of(image) for image in newest.images.values()} == wanted and is_rolled_out(
            workload
        )

    def reached_production(self, application: str) -> bool:
        """Return whether production runs the fix alone, verified, and all answers come from it."""
        last = self.promotion(application, PRODUCTION)
        tested = last is not None and last.status.phase is PromotionPhase.SUCCEEDED
        new = self.load_stats[application].version == self.publication.new_glibc
        return tested and new and self.runs(application, PRODUCTION, self.release(application))

    def timeline(self) -> Sequence[TimelinePoint]:
        """Return the points so far, in order."""
        return sorted(self._points(), key=lambda point: point.at)

    def offset(self, point: TimelinePoint) -> float:
        """Return the seconds from the publication to a point."""
        return (point.at - self.publication.at).total_seconds()

    def failed_build(self) -> str:
        """Return the failed build and its message; empty if none failed."""
        return _failed_build(build for config in CONFIGS for build in self.builds(config))

    def _points(self) -> Iterator[TimelinePoint]:
        fix = self.publication
        yield TimelinePoint(fix.at, f"published  {short(str(fix.new))} by the vendor")
        base = self.observed.base()
        if base is not None and base.image == str(fix.new):
            yield TimelinePoint(base.created, "detected   debian:11 has a new digest")
        for config in CONFIGS:
            for build in self.builds(config):
                yield from _build_points(build)
        for name in APPLICATIONS:
            for stage in STAGES:
                if (promotion := self.promotion(name, stage)) is not None:
                    yield from _stage_points(name, promotion)
            stats, last = self.load_stats[name], self.promotion(name, PRODUCTION)
            if stats.since is None or last is None or last.status.ended is None:
                continue
            # While old instances serve too, their answers come in between.
            if self.reached_production(name):
                text = f"verified   {name}: glibc {stats.version} in every answer"
                yield TimelinePoint(max(stats.since, last.status.ended), text)


def reasons(progress: FixProgress) -> Iterator[str]:
    """Yield the reason of each build."""
    for config in (BUILDER, SHOP, GATE):
        for build in progress.builds(config):
            for cause in build.spec.triggered_by:
                change = cause.image_change_build
                if change is None:
                    yield f"{build.name}: {cause.message}"
                    continue
                tag = change.from_ref.name if change.from_ref else "its base"
                before = short(change.previous_image_id or "") or "none"
                text = f"{build.name}: {tag} went from {before} to {short(change.image_id)}"
                yield text + _rebase(build)


def _rebase(build: Build) -> str:
    """Say whether the image was put on its new base; empty: it was not to be."""
    found = build.status.rebase
    if found is None:
        return ""
    return "; rebased" if found.rebased else f"; not rebased: {found.message}"


def _build_points(build: Build) -> Iterator[TimelinePoint]:
    status = build.status
    if status.start_timestamp is not None:
        yield TimelinePoint(status.start_timestamp, f"building   {build.name}")
    if status.completion_timestamp is not None:
        result = short(output_digest(build))
        text = f"built      {build.name} {result}" if result else f"ended      {build.name}"
        yield TimelinePoint(status.completion_timestamp, text)


def _stage_points(application: str, promotion: Promotion) -> Iterator[TimelinePoint]:
    spec, status = promotion.spec, promotion.status
    if status.serving_since is not None:
        live = "live    " if spec.stage == PRODUCTION else "deployed"
        text = f"{live}   {application}: {spec.release} serves in {spec.stage}"
        yield TimelinePoint(status.serving_since, text)
    if status.ended is None:
        return
    if status.phase is PromotionPhase.SUCCEEDED:
        text = f"tested     {application}: {spec.release} passed in {spec.stage}"
    else:
        text = f"refused    {application}: {spec.release} in {spec.stage}: {status.message}"
    yield TimelinePoint(status.ended, text)


def _failed_build(builds: Iterable[Build]) -> str:
    for build in builds:
        status = build.status
        if status.phase.is_terminal and status.phase is not BuildPhase.COMPLETE:
            return f"build {build.name} {status.phase}: {status.message or status.reason or ''}"
    return ""


def first_failed_build(observed: Observed) -> str:
    """Return the failed one of the first builds and its message; empty if none failed."""
    return _failed_build(build for config in CONFIGS for build in observed.builds(config))


def standing(observed: Observed) -> str:
    """Return how the newest build of each BuildConfig stands, and each promotion seen last."""
    builds = (observed.builds(config)[-1:] for config in CONFIGS)
    told = [f"build {one.name} {one.status.phase}" for newest in builds for one in newest]
    moves = [one for one in observed.objects.values() if isinstance(one, Promotion)]
    for one in {one.spec.pipeline: one for one in moves}.values():
        why = f": {one.status.message}" if one.status.message else ""
        told.append(f"promotion {one.name} {one.status.phase}{why}")
    return "; ".join(told)


def is_rolled_out(workload: Workload | None) -> bool:
    """Return whether the newest revision serves alone, without old or draining instances."""
    if workload is None or rollout_of(workload).state is not RolloutState.COMPLETE:
        return False
    status = workload.status
    return status.replicas == status.updated_replicas == status.ready_replicas > 0


def is_ready(observed: Observed) -> bool:
    """Return whether both applications are rolled out and verified in all stages."""
    return all(_is_verified(observed, name) for name in APPLICATIONS)


def _is_verified(observed: Observed, application: str) -> bool:
    pipeline = observed.pipeline(application)
    if pipeline is None:
        return False
    stages = [pipeline.status.stage(name) for name in STAGES]
    latest = pipeline.status.latest_release
    verified = all(stage.release == latest and stage.verified for stage in stages)
    return verified and all(is_rolled_out(observed.workload(application, name)) for name in STAGES)
