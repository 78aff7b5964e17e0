"""Releases that clusters run of the stages of Pipelines, and since when; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.pipeline import ClusterPhase, ClusterProgress, Pipeline
from upwell.api.promotion import Promotion
from upwell.policy.explain.lineage import PromotionLineage, StagePlacement, begin_of
from upwell.policy.explain.statement import Statement, Topic

_TELLING = {ClusterPhase.COMPLETE, ClusterPhase.DRIFTED, ClusterPhase.AWAY}
"""Phases that tell what a cluster ran then, if only that nobody knows: one that is away may have
the Release or not. In all others it has what it had before."""


@dataclass(frozen=True, slots=True)
class ClusterStanding:
    """Release that a cluster runs of a stage, and how the newest meant for it stands."""

    place: StagePlacement
    cluster: str
    release: str
    """Empty: nobody knows, as it is away or has drifted, or none was complete there yet."""
    since: datetime | None
    """Since when it runs that; of a Release that nobody knows, since when its newest stands so."""
    newest: ClusterProgress
    """Of the newest Promotion that the cluster has a part in."""

    @property
    def is_current(self) -> bool:
        """True if it runs the Release of the newest Promotion."""
        return self.newest.phase is ClusterPhase.COMPLETE

    def __str__(self) -> str:
        if self.is_current:
            return f"cluster {self.cluster} runs {self.release}"
        message = f": {self.newest.message}" if self.newest.message else ""
        newest = f"{self.newest.release} is {self.newest.phase}{message}"
        runs = f" runs {self.release};" if self.release else ":"
        return f"cluster {self.cluster}{runs} {newest}"


def standings(lineage: PromotionLineage, place: StagePlacement) -> Iterator[ClusterStanding]:
    """Yield how each cluster of a stage stands, by the Promotions into it."""
    told = [one for one in lineage.promotions_into(place) if one.status.clusters]
    told.sort(key=begin_of, reverse=True)
    behind = {one.name: one for one in place.status.behind}
    for newest in told[0].status.clusters if told else ():
        of_cluster = [
            _Record(one, by) for by in told for one in by.status.clusters if one.name == newest.name
        ]
        now = behind.get(newest.name)
        is_away = now is not None and now.phase is ClusterPhase.AWAY
        if now is not None and is_away and now.release == newest.release:
            # What it had is on record, and nobody knows what it has.
            of_cluster[0] = _Record(now, told[0])
        yield _standing(place, of_cluster)


def stages_of(lineage: PromotionLineage, pipeline: Pipeline) -> Iterator[Statement]:
    """Yield which Release serves in each stage, and since when; of one on clusters, in each."""
    for stage in pipeline.spec.stages:
        place = StagePlacement(pipeline, stage)
        status = place.status
        serves = f"serves {status.release}" if status.release else "serves no release yet"
        text = f"stage {stage.name} {serves}"
        yield Statement(Topic.RUNNING, text, at=status.since if status.release else None)
        if not stage.runs_here:
            for one in standings(lineage, place):
                yield Statement(Topic.RUNNING, str(one), depth=1, at=one.since)


@dataclass(frozen=True, slots=True)
class _Record:
    """Record of a cluster, and the Promotion that has it."""

    progress: ClusterProgress
    promotion: Promotion

    @property
    def is_complete(self) -> bool:
        return self.progress.phase is ClusterPhase.COMPLETE

    @property
    def was_put_back(self) -> bool:
        return self.progress.release != self.promotion.spec.release


def _standing(place: StagePlacement, newest_first: Sequence[_Record]) -> ClusterStanding:
    newest = newest_first[0].progress
    told = [one for one in newest_first if one.progress.phase in _TELLING]
    if not told or not told[0].is_complete:
        return ClusterStanding(place, newest.name, "", newest.since, newest)
    release = told[0].progress.release
    return ClusterStanding(place, newest.name, release, _complete_since(told), newest)


def _complete_since(newest_first: Sequence[_Record]) -> datetime | None:
    """Return since when a cluster has its Release, which may be promoted, or verified, again."""
    first = newest_first[0]
    for one in newest_first[1:]:
        is_same = one.progress.release == first.progress.release
        if first.was_put_back or not is_same or not one.is_complete:
            break
        first = one
    return first.progress.since
