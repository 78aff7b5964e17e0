"""Opens the clients of clusters, which connect by the outbound policy."""

from contextlib import AsyncExitStack

from upwell.cluster.kubernetes_remote import KubernetesRemoteClusters
from upwell.machine.clock import now
from upwell.outbound.dialing import Dialer
from upwell.store.fence import require_fence
from upwell.store.interface import Store


def open_remote_clusters(
    store: Store, dialer: Dialer, stack: AsyncExitStack
) -> KubernetesRemoteClusters:
    """Return the clients of all clusters; the stack closes them.

    A replica that does not lead any more writes nothing there either.
    """
    clusters = KubernetesRemoteClusters(store, dialer.connect, now, before_write=require_fence)
    stack.push_async_callback(clusters.close)
    return clusters
