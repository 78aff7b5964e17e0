"""Looks at each Cluster from time to time, and writes how it stands.

A look is bounded in time by the client, and one that hangs keeps no other waiting: each has a
worker of its own up to a bound, and nobody else waits for a look.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from upwell.api.clusters.cluster import Cluster
from upwell.api.core import Secret
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import ClusterPhase, Pipeline
from upwell.api.promotion import Promotion
from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import AccessAttributes, RemoteClusters
from upwell.controller import Controller, ObjectCache, Result, Watch, of_both
from upwell.policy.clusters.condition import (
    ClusterObservation,
    cluster_status,
    is_authorized,
    is_reachable,
    may_run_checks,
)
from upwell.policy.clusters.rights import check_rights, needed_rights
from upwell.policy.promotion.clusters.targets import runs_checks_in
from upwell.reconcilers.authority import MISSING_RIGHT, UNASKED, Authority
from upwell.store.interface import NotFoundError, Store

log = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0
_AWAY_SECONDS = 10.0
"""Between two looks at a cluster that is away: so long those that wait for it wait at most."""
_RIGHTS_EVERY = timedelta(minutes=5)
"""Rights are asked for less often: they are twenty questions in each namespace."""
_WORKERS = 8


class ClusterReconciler:
    """Keeps the status of Clusters current."""

    def __init__(
        self,
        store: Store,
        clusters: RemoteClusters,
        clock: Callable[[], datetime],
        authority: Authority = UNASKED,
    ) -> None:
        self._store = store
        self._clusters = clusters
        self._clock = clock
        self._authority = authority
        self._rights_asked: dict[str, tuple[int, datetime]] = {}
        """Generation and time at which rights were asked for last; lost with the process."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look at the cluster that `key` names."""
        try:
            cluster = await self._store.get(Cluster, "", key.name)
        except NotFoundError:
            self._rights_asked.pop(key.name, None)
            await self._clusters.forget(key.name)
            return Result()
        if cluster.is_deleting:
            return Result()
        status = cluster_status(cluster, await self._look(cluster), self._clock())
        if status != cluster.status:
            cluster = cluster.with_status(status)
            await self._store.update_status(cluster)
        if cluster.spec.local:
            return Result()
        return Result(_LOOK_SECONDS if is_reachable(cluster) else _AWAY_SECONDS)

    async def _look(self, cluster: Cluster) -> ClusterObservation:
        if cluster.spec.local:
            return ClusterObservation(denied=())
        if why := await self._authority.refusal(cluster):
            return ClusterObservation(reason=MISSING_RIGHT, message=why)
        now = self._clock()
        wanted: tuple[AccessAttributes, ...] = ()
        try:
            remote = await self._clusters.connect(cluster)
            if remote.has_denied or await self._asks_rights(cluster, now):
                namespaces = cluster.spec.namespaces
                wanted = (*needed_rights(namespaces), *check_rights(namespaces))
            report = await remote.report(wanted)
        except ClusterError as error:
            log.info("cluster not reached", extra={"cluster": cluster.name, "why": str(error)})
            return ClusterObservation(reason=error.reason, message=str(error))
        if not wanted:
            return ClusterObservation(report.version)
        self._rights_asked[cluster.name] = (cluster.generation, now)
        return ClusterObservation(report.version, tuple(report.denied))

    async def _asks_rights(self, cluster: Cluster, now: datetime) -> bool:
        """Return True if rights are due: by time, after an absence, and while one is missing.

        Those of checks alone may be left out for good: they count where a stage has such checks.
        """
        generation, asked = self._rights_asked.get(cluster.name, (None, now))
        is_old = generation != cluster.generation or now - asked > _RIGHTS_EVERY
        if is_old or not is_reachable(cluster) or not is_authorized(cluster):
            return True
        if may_run_checks(cluster):
            return False
        pipelines = (await self._store.list(Pipeline)).items
        stages = (stage for one in pipelines for stage in one.spec.stages)
        return any(runs_checks_in(stage, cluster) for stage in stages)


def cluster_controller(cache: ObjectCache, reconciler: ClusterReconciler) -> Controller:
    """Return the controller of Clusters.

    One is looked at at once when its Secret has changed, or a promotion finds it away.
    """
    by_secret = cache.index(Cluster, _secret)

    def using(secret: Secret) -> list[ObjectKey]:
        return [one.key for one in by_secret.get((secret.namespace, secret.name))]

    watches = (
        Watch(Cluster, _changed),
        Watch(Secret, of_both(using)),
        Watch(Promotion, found_away),
    )
    return Controller("clusters", reconciler, cache, watches, workers=_WORKERS)


def found_away(before: Promotion | None, after: Promotion | None) -> Iterable[ObjectKey]:
    """Yield the clusters that a promotion has just found not to answer, or to deny it something."""
    known = _away(before)
    for name in _away(after):
        if name not in known:
            yield ObjectKey(Cluster.KIND.kind, "", name)


def _away(promotion: Promotion | None) -> list[str]:
    clusters = () if promotion is None else promotion.status.clusters
    return [one.name for one in clusters if one.phase is ClusterPhase.AWAY]


def _secret(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    access = cluster.spec.kube_config
    return () if access is None else ((access.secret_ref.namespace, access.secret_ref.name),)


def _changed(before: Cluster | None, after: Cluster | None) -> list[ObjectKey]:
    """Return a Cluster whose spec has changed: what is written of its status asks for nothing."""
    if before is not None and after is not None and before.generation == after.generation:
        return []
    found = after or before
    return [] if found is None else [found.key]
