"""Hands what keeps a cluster's workloads current the ports that it needs."""

from collections.abc import Sequence

from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import Controller
from upwell.machine.clock import now
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import ClusterParts, cluster_rollout_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.waves.gate import WaveGate


def cluster_parts(cluster: OpenedCluster) -> ClusterParts:
    """Return what writes to workloads and sees their Pods; both write and judge by it."""
    api = cluster.client.connection
    pods = {one: PodIndex(KubernetesPods(api, one)) for one in cluster.namespaces or ("",)}
    return ClusterParts(KubernetesWorkloads(api, now), pods)


def cluster_controllers(
    parts: ClusterParts, index: WorkloadIndex, gate: WaveGate
) -> Sequence[Controller]:
    """Return what sets images of workloads, and judges how the cluster rolls them out."""
    return (cluster_rollout_controller(index, parts, now, gate, watches=gate.watches),)
