"""A cluster of the kit as the composition root opens it, with some namespaces kept current."""

from datetime import UTC, datetime

from tests.support.cluster.workloads import NAMESPACE

from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.app.kubernetes.shared_keys import SharedKeys
from upwell.cluster.kubernetes_access import KubernetesAccessReviews
from upwell.controller.leader import Election, LeaderElection
from upwell.controller.leader_thread import LeaderThread
from upwell.reconcilers.cluster_access import ClusterRights
from upwell.store.clusters.store import ClusterStore
from upwell.store.kubernetes import KubernetesStore
from upwell.store.unreadable import UnreadableObjects


def now() -> datetime:
    """Return the time: API servers have no other one."""
    return datetime.now(UTC)


def opened_cluster(
    client: KubernetesStore, namespaces: tuple[str, ...] = (NAMESPACE,)
) -> OpenedCluster:
    """Return what a server has of a cluster; nobody stands for election."""
    seen = ClusterStore(client, frozenset(namespaces))
    lease = Election("upwell", "upwell", "test")
    leader = LeaderThread(LeaderElection(client, lease, wall=now), client.close)
    rights = ClusterRights(KubernetesAccessReviews(client.connection))
    keys = SharedKeys(client, lease.namespace)
    unreadable = UnreadableObjects()
    return OpenedCluster(seen, client, leader, namespaces, unreadable, rights, lease, keys)
