"""What has happened since the fix was published: the timeline. Pure: no clock, no I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.build import Build, BuildPhase
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
    """The fix as the vendor published it, and how things stood before."""

    at: datetime
    old: Digest
    new: Digest
    old_glibc: str
    new_glibc: str
    builds_before: frozenset[str]
    """Names of the builds that there were."""


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """One point of the timeline."""

    at: datetime
    what: str


class Story:
    """What has happened since the fix was published."""

    def __init__(
        self, publication: Publication, observed: Observed, tallies: Mapping[str, LoadStats]
    ) -> None:
        self.publication = publication
        self.observed = observed
        self.tallies = tallies

    @property
    def requests(self) -> int:
        """All requests of the load."""
        return sum(tally.requests for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        """Those that failed."""
        return sum(tally.failed for tally in self.tallies.values())

    def builds(self, config: str) -> Sequence[Build]:
        """Return the builds of a BuildConfig that the fix started."""
        before = self.publication.builds_before
        return [build for build in self.observed.builds(config) if build.name not in before]

    def release(self, application: str) -> Release | None:
        """Return the Release of what the fix's build made."""
        made = {output_digest(build) for build in self.builds(application)} - {""}
        return self.observed.release(made) if made else None

    def release_before(self, application: str) -> Release | None:
        """Return the Release of what was built before the fix."""
        before = self.publication.builds_before
        builds = [one for one in self.observed.builds(application) if one.name in before]
        made = {output_digest(build) for build in builds} - {""}
        return self.observed.release(made) if made else None

    def promotion(self, application: str, stage: str) -> Promotion | None:
        """Return the promotion of the fix's Release into a stage."""
        release = self.release(application)
        return self.observed.promotion(release.name, stage) if release is not None else None

    def runs(self, application: str, stage: str, release: Release | None) -> bool:
        """Whether a stage runs the image of a Release, and nothing else any more."""
        workload = self.observed.workload(application, stage)
        newest = next(iter(workload.status.revisions if workload else ()), None)
        if release is None or newest is None or newest.phase != Phase.COMPLETE:
            return False
        wanted = {digest_of(one.image) for one in release.spec.components}
        return {digest_of(image) for image in newest.images.values()} == wanted and is_rolled_out(
            workload
        )

    def arrived(self, application: str) -> bool:
        """Whether production runs the fix alone, tested there, and every answer comes from it."""
        last = self.promotion(application, PRODUCTION)
        tested = last is not None and last.status.phase is PromotionPhase.SUCCEEDED
        new = self.tallies[application].version == self.publication.new_glibc
        return tested and new and self.runs(application, PRODUCTION, self.release(application))

    def timeline(self) -> Sequence[TimelinePoint]:
        """Return what has happened so far, in order."""
        return sorted(self._moments(), key=lambda moment: moment.at)

    def offset(self, moment: TimelinePoint) -> float:
        """Return the seconds from the publication to a moment."""
        return (moment.at - self.publication.at).total_seconds()

    def failed_build(self) -> str:
        """Return which build has failed, if one has."""
        return _failed_build(build for config in CONFIGS for build in self.builds(config))

    def _moments(self) -> Iterator[TimelinePoint]:
        fix = self.publication
        yield TimelinePoint(fix.at, f"published  {short(str(fix.new))} by the vendor")
        base = self.observed.base()
        if base is not None and base.image == str(fix.new):
            yield TimelinePoint(base.created, "detected   debian:11 has a new digest")
        for config in CONFIGS:
            for build in self.builds(config):
                yield from _build_moments(build)
        for name in APPLICATIONS:
            for stage in STAGES:
                if (promotion := self.promotion(name, stage)) is not None:
                    yield from _stage_moments(name, promotion)
            tally, last = self.tallies[name], self.promotion(name, PRODUCTION)
            if tally.since is None or last is None or last.status.ended is None:
                continue
            # While old instances serve too, their answers come in between.
            if self.arrived(name):
                text = f"verified   {name}: glibc {tally.version} in every answer"
                yield TimelinePoint(max(tally.since, last.status.ended), text)


def reasons(story: Story) -> Iterator[str]:
    """Yield why each build ran."""
    for config in (BUILDER, SHOP, GATE):
        for build in story.builds(config):
            for cause in build.spec.triggered_by:
                change = cause.image_change_build
                if change is None:
                    yield f"{build.name}: {cause.message}"
                    continue
                tag = change.from_ref.name if change.from_ref else "its base"
                before = short(change.previous_image_id or "") or "none"
                yield f"{build.name}: {tag} went from {before} to {short(change.image_id)}"


def _build_moments(build: Build) -> Iterator[TimelinePoint]:
    status = build.status
    if status.start_timestamp is not None:
        yield TimelinePoint(status.start_timestamp, f"building   {build.name}")
    if status.completion_timestamp is not None:
        result = short(output_digest(build))
        text = f"built      {build.name} {result}" if result else f"ended      {build.name}"
        yield TimelinePoint(status.completion_timestamp, text)


def _stage_moments(application: str, promotion: Promotion) -> Iterator[TimelinePoint]:
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


def broken_before(observed: Observed) -> str:
    """Return which of the first builds has failed, if one has."""
    return _failed_build(build for config in CONFIGS for build in observed.builds(config))


def is_rolled_out(workload: Workload | None) -> bool:
    """Whether the newest revision serves alone: no old instance is left, draining or not."""
    if workload is None or rollout_of(workload).state is not RolloutState.COMPLETE:
        return False
    status = workload.status
    return status.replicas == status.updated_replicas == status.ready_replicas > 0


def is_ready(observed: Observed) -> bool:
    """Whether both applications are rolled out and tested in every stage."""
    return all(_is_verified(observed, name) for name in APPLICATIONS)


def _is_verified(observed: Observed, application: str) -> bool:
    pipeline = observed.pipeline(application)
    if pipeline is None:
        return False
    stages = [pipeline.status.stage(name) for name in STAGES]
    latest = pipeline.status.latest_release
    verified = all(stage.release == latest and stage.verified for stage in stages)
    return verified and all(is_rolled_out(observed.workload(application, name)) for name in STAGES)
