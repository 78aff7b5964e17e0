"""Explanation of a promotion or a Release: what goes where, how far it is, and its origin."""

from collections.abc import Iterator

from upwell.api.promotion import Promotion, PromotionPhase, Purpose, Release, ReleasePhase
from upwell.policy.explain.freshness import Snapshot, short
from upwell.policy.explain.lineage import asked_by, begin_of, evidence_of, origin_of
from upwell.policy.explain.origins import OriginExplainer
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.health.promotion import behind_text, cluster_drift_of
from upwell.policy.promotion.clusters.catching_up import left_text

_VERBS = {
    Purpose.PROMOTE: "brings {release} into",
    Purpose.ROLL_BACK: "puts {release} back into",
    Purpose.VERIFY: "verifies {release} again in",
}


class PromotionExplainer:
    """Says what a promotion, or those of a Release, do and wait for, and follows it back."""

    def __init__(self, snapshot: Snapshot, origins: OriginExplainer) -> None:
        self._snapshot = snapshot
        self._origins = origins

    def explain(self, asked: Promotion) -> Iterator[Statement]:
        """Yield the statements about a Promotion."""
        yield from _promotion("it", asked, 0)
        release = self._snapshot.lineage.release_of(asked)
        if release is None:
            yield Statement(Topic.RELEASE, f"the record of release {asked.spec.release} is gone", 1)
        else:
            yield from self._release(release, 1)
        yield from _outlook(asked)

    def explain_release(self, asked: Release) -> Iterator[Statement]:
        """Yield the statements about a Release: its origin, its promotions, and what is next."""
        yield from self._release(asked, 0)
        promotions = sorted(self._snapshot.lineage.promotions_of(asked), key=begin_of)
        for one in promotions:
            yield from _promotion(f"promotion {one.name}", one, 0)
            if one.status.phase is not PromotionPhase.SUCCEEDED:
                yield from _obstacles(one, 1)
        status = asked.status
        see = f"see `upwell pipeline status {asked.spec.pipeline}`"
        text = f"it is {status.phase}{f': {status.message}' if status.message else ''}"
        waits = status.phase in {ReleasePhase.WAITING, ReleasePhase.REJECTED}
        yield Statement(Topic.HELD if waits else Topic.RELEASE, text)
        yield Statement(Topic.NEXT, see if promotions else f"nothing has promoted it yet; {see}")

    def _release(self, release: Release, depth: int) -> Iterator[Statement]:
        cause = f": {release.spec.cause}" if release.spec.cause else ""
        made = release.metadata.creation_timestamp
        yield Statement(Topic.RELEASE, f"release {release.name} was made{cause}", depth, made)
        rejection = release.status.rejection
        if rejection is not None:
            by = f" by {rejection.by}" if rejection.by else ""
            text = f"it is rejected{by}: {rejection.reason}"
            yield Statement(Topic.HELD, text, depth + 1, rejection.at)
        for component in release.spec.components:
            text = f"component {component.name} is {short(component.image)}"
            yield Statement(Topic.IMAGE, text, depth + 1, new=component.image)
            if self._snapshot.producer_of(component.image) is None:
                yield from origin_of(component, depth + 2)
            yield from self._origins.origin(None, component.image, depth + 2)


def _promotion(subject: str, asked: Promotion, depth: int) -> Iterator[Statement]:
    """Say what a promotion does and who asked for it, with its evidence below."""
    spec, status = asked.spec, asked.status
    what = _VERBS[spec.purpose].format(release=spec.release)
    where = f"stage {spec.stage} of pipeline {asked.namespace}/{spec.pipeline}"
    text = f"{subject} {what} {where}: {status.phase}; {asked_by(asked)}"
    yield Statement(Topic.PROMOTION, text, depth, status.ended or status.started)
    yield from evidence_of(asked, depth + 1)


def _outlook(asked: Promotion) -> Iterator[Statement]:
    """Say what holds it up, or why it ended as it did, and what comes next."""
    spec, status = asked.spec, asked.status
    if status.phase is PromotionPhase.SUCCEEDED:
        left = left_text(status.clusters)
        if left:
            yield Statement(Topic.HELD, left)
        due = "it has succeeded" if left else "nothing is due: it has succeeded"
        yield Statement(Topic.NEXT, f"{due}; see `upwell pipeline status {spec.pipeline}`")
        return
    yield from _obstacles(asked, 0)
    see = f"see `upwell pipeline status {spec.pipeline}`"
    if status.phase.is_final:
        see = f"it has ended; {see}, and `upwell promote {spec.release} --stage {spec.stage}`"
    yield Statement(Topic.NEXT, see)


def _obstacles(asked: Promotion, depth: int) -> Iterator[Statement]:
    """Say what holds a promotion up, or why it failed."""
    spec, status = asked.spec, asked.status
    if status.message:
        yield Statement(Topic.HELD, status.message, depth, status.until)
    for tell in (behind_text, cluster_drift_of):
        for text in tell(spec.stage, status.clusters):
            yield Statement(Topic.HELD, text, depth)
