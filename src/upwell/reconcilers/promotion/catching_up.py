"""Clusters that were away during a promotion, or came after it: they get what serves there.

A promotion ends without the few clusters that it need not wait for. Its record of clusters is
kept current afterwards, until another one begins in its stage.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import ClusterPhase, ClusterProgress, Pipeline
from upwell.api.promotion import PIPELINE_LABEL, Promotion, PromotionPhase, Release
from upwell.controller import Controller, Result, Watch
from upwell.policy.clusters.condition import has_changed
from upwell.policy.promotion import transitions
from upwell.policy.promotion.clusters.catching_up import release_to_catch_up
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.stages import hold_of
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, UNASKED, Authority
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.interface import NotFoundError, Selector, Store

log = logging.getLogger(__name__)

_LOOK_AGAIN = 5.0
"""Seconds after which a rollout in a cluster is looked at."""
_DRIFT_EVERY = timedelta(minutes=5)
"""Time between two comparisons of what clusters have with what was promoted there."""
_AWAY_SECONDS = 10.0
"""Until a cluster is asked again that is away, though nobody has found so yet who looks at it."""


class ClusterCatchUp(Protocol):
    """Brings a Release to clusters that lack it."""

    async def catch_up(self, move: Move, *, looks: bool) -> tuple[ClusterProgress, ...]:
        """Do what is due, and return how all clusters of the stage stand; raises StoreError.

        With `looks`, what the clusters have is compared with the Release.
        """
        ...


class CatchUpReconciler:
    """Looks at promotions onto clusters that have ended."""

    def __init__(
        self,
        store: Store,
        placement: ClusterCatchUp,
        clock: Callable[[], datetime],
        authority: Authority = UNASKED,
    ) -> None:
        self._store = store
        self._placement = placement
        self._clock = clock
        self._authority = authority
        self._looked: dict[ObjectKey, datetime] = {}
        """Time of the last comparison with what clusters have; lost with the process."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring what serves to the clusters that the promotion of `key` has left behind."""
        try:
            promotion = await self._store.get(Promotion, key.namespace, key.name)
        except NotFoundError:
            self._looked.pop(key, None)
            return Result()
        move = await self._read(promotion)
        now = self._clock()
        if move is None:
            self._looked.pop(key, None)
            return Result()
        if hold_of(move.pipeline, move.stage, (), now):
            return Result()
        if await self._authority.refusal(move.pipeline):
            return Result(ASK_AGAIN_SECONDS)
        looked = self._looked.get(key)
        looks = looked is None or not looked <= now < looked + _DRIFT_EVERY
        clusters = await self._placement.catch_up(move, looks=looks)
        if looks:
            self._looked[key] = now
        status = transitions.spread(promotion.status, clusters)
        if status != promotion.status:
            await self._store.update_status(promotion.with_status(status))
            log.info("clusters caught up", extra={"promotion": promotion.name})
        phases = {one.phase for one in clusters}
        if ClusterPhase.AWAY in phases:
            return Result(_AWAY_SECONDS)
        is_moving = ClusterPhase.ROLLING_OUT in phases
        return Result(_LOOK_AGAIN if is_moving else _DRIFT_EVERY.total_seconds())

    async def _read(self, promotion: Promotion) -> Move | None:
        """Return what is to be brought; None: nothing is."""
        if promotion.is_deleting or not promotion.status.phase.is_final:
            return None
        namespace, spec = promotion.namespace, promotion.spec
        mine = Selector(namespace, {PIPELINE_LABEL: spec.pipeline})
        others = (await self._store.list(Promotion, mine)).items
        name = release_to_catch_up(promotion, others)
        if not name:
            return None
        try:
            pipeline = await self._store.get(Pipeline, namespace, spec.pipeline)
            release = await self._store.get(Release, namespace, name)
        except NotFoundError:
            return None
        stage = pipeline.stage(spec.stage)
        if stage is None or stage.runs_here:
            return None
        if name != spec.release:
            # As while it went back: what the cluster has from the promotion has failed.
            going_back = {"phase": PromotionPhase.ROLLING_BACK}
            status = promotion.status.model_copy(update=going_back)
            promotion = promotion.with_status(status)
        return Move(pipeline, stage, release, promotion)


def catch_up_controller(index: WorkloadIndex, reconciler: CatchUpReconciler) -> Controller:
    """Return the controller that does so whenever a cluster stands otherwise than before."""

    def left(before: Cluster | None, after: Cluster | None) -> Iterable[ObjectKey]:
        if before is None or after is None or has_changed(before, after):
            yield from index.spread_promotions()

    def ended(_before: Promotion | None, after: Promotion | None) -> Iterable[ObjectKey]:
        if after is not None and after.status.phase.is_final and after.status.clusters:
            yield after.key

    watches = (Watch(Promotion, ended), Watch(Cluster, left))
    return Controller("cluster-catch-up", reconciler, index.cache, watches, workers=4)
