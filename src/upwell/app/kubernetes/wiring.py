"""Hands what keeps a cluster's workloads current the ports that it needs."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette

from upwell.app.kubernetes.admission import MEANING
from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import Controller
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import ClusterParts, cluster_rollout_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.waves.gate import WaveGate
from upwell.server.cluster_access.admission import ClusterAdmission
from upwell.server.cluster_access.webhooks import create_admission_app

type Loop = Callable[[], Coroutine[Any, Any, None]]


def admission_loops(
    cluster: OpenedCluster, components: Components
) -> tuple[Sequence[Loop], Sequence[Loop]]:
    """Return what keeps the cluster's admission in force: the leader's loops, and every replica's.

    Whether it is in force is shown as component `admission`.
    """
    component = components.add("admission", required=False)
    webhook = cluster.webhook
    if webhook is None:
        component.fail("AdmissionNotInForce", f"[kubernetes] admission-port is not set; {MEANING}")
        return (), ()
    return (webhook.keep,), (partial(webhook.watch, component),)


def admission_app(cluster: OpenedCluster, registry: str) -> Starlette | None:
    """Return what the cluster's webhook is answered by; None: it has no port."""
    webhook = cluster.webhook
    if webhook is None:
        return None
    return create_admission_app(
        ClusterAdmission(cluster.rights, webhook.account, webhook.admission, registry)
    )


def cluster_parts(cluster: OpenedCluster, authority: Authority) -> ClusterParts:
    """Return what writes to workloads and sees their Pods; both write and judge by it."""
    api = cluster.client.connection
    pods = {one: PodIndex(KubernetesPods(api, one)) for one in cluster.namespaces or ("",)}
    return ClusterParts(KubernetesWorkloads(api, now), pods, authority)


def cluster_controllers(
    parts: ClusterParts, index: WorkloadIndex, gate: WaveGate
) -> Sequence[Controller]:
    """Return what sets images of workloads, and judges how the cluster rolls them out."""
    return (cluster_rollout_controller(index, parts, now, gate, watches=gate.watches),)
