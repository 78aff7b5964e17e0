"""Explanation of a promotion: what it brings where, how far it is, and its origin."""

from collections.abc import Iterator

from upwell.api.promotion import Promotion, PromotionPhase, Purpose, Release
from upwell.policy.explain.freshness import Snapshot, short
from upwell.policy.explain.lineage import asked_by, evidence_of, origin_of
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
    """Says what a promotion does and waits for, and follows its Release back."""

    def __init__(self, snapshot: Snapshot, origins: OriginExplainer) -> None:
        self._snapshot = snapshot
        self._origins = origins

    def explain(self, asked: Promotion) -> Iterator[Statement]:
        """Yield the statements about a Promotion."""
        spec, status = asked.spec, asked.status
        what = _VERBS[spec.purpose].format(release=spec.release)
        where = f"stage {spec.stage} of pipeline {asked.namespace}/{spec.pipeline}"
        text = f"it {what} {where}: {status.phase}; {asked_by(asked)}"
        yield Statement(Topic.PROMOTION, text, at=status.ended or status.started)
        yield from evidence_of(asked, 1)
        release = self._snapshot.lineage.release_of(asked)
        if release is None:
            yield Statement(Topic.RELEASE, f"the record of release {spec.release} is gone", 1)
        else:
            yield from self._release(release)
        yield from _outlook(asked)

    def _release(self, release: Release) -> Iterator[Statement]:
        cause = f": {release.spec.cause}" if release.spec.cause else ""
        made = release.metadata.creation_timestamp
        yield Statement(Topic.RELEASE, f"release {release.name} was made{cause}", 1, made)
        rejection = release.status.rejection
        if rejection is not None:
            by = f" by {rejection.by}" if rejection.by else ""
            text = f"it is rejected{by}: {rejection.reason}"
            yield Statement(Topic.HELD, text, 2, rejection.at)
        for component in release.spec.components:
            text = f"component {component.name} is {short(component.image)}"
            yield Statement(Topic.IMAGE, text, 2, new=component.image)
            if self._snapshot.producer_of(component.image) is None:
                yield from origin_of(component, 3)
            yield from self._origins.origin(None, component.image, 3)


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
    if status.message:
        yield Statement(Topic.HELD, status.message, at=status.until)
    for tell in (behind_text, cluster_drift_of):
        yield from (Statement(Topic.HELD, text) for text in tell(spec.stage, status.clusters))
    see = f"see `upwell pipeline status {spec.pipeline}`"
    if status.phase.is_final:
        see = f"it has ended; {see}, and `upwell promote {spec.release} --stage {spec.stage}`"
    yield Statement(Topic.NEXT, see)
