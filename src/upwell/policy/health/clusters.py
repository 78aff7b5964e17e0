"""Faults of Clusters: one that is not reached, and an access that lacks rights."""

from collections.abc import Iterator

from upwell.api.clusters.cluster import AUTHORIZED, REACHABLE, Cluster
from upwell.api.conditions import find
from upwell.policy.health.fault import FaultEvent, HealthFault

_STAYS = "what runs there runs on; it is asked again by itself"


def cluster_faults(cluster: Cluster) -> Iterator[HealthFault]:
    """Yield the fault of a Cluster: of one that is away, what it allows is not known."""
    for kind in (REACHABLE, AUTHORIZED):
        found = find(cluster.status.conditions, kind)
        if found is not None and found.status == "False":
            yield HealthFault.of(cluster.key, FaultEvent.CLUSTER_DEGRADED, found, _STAYS)
            return
