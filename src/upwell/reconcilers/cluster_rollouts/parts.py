"""Parts of a cluster that reconcilers work with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from upwell.api.meta import ObjectKey
from upwell.cluster.interface import ClusterWorkloads, PodRecord
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.cluster_rollouts.events import ShownWrites
from upwell.reconcilers.cluster_rollouts.image_policies import NO_POLICIES, RolloutPolicies
from upwell.reconcilers.cluster_rollouts.pods import PodIndex


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """A cluster, as it is written to and as its Pods are seen."""

    workloads: ClusterWorkloads
    pods: Mapping[str, PodIndex]
    """By the namespaces whose workloads are kept current; those of all under the empty name."""
    authority: Authority = UNASKED
    """Judge of whether whoever stands for a workload may have the images that it follows."""
    policies: RolloutPolicies = NO_POLICIES
    """Judge of the images themselves, before they are set."""
    shown_writes: ShownWrites = field(default_factory=ShownWrites)
    """Writes that were told, whoever has made them."""

    def pods_near(self, workload: ObjectKey) -> PodIndex | None:
        """Return where the Pods of a workload are; None: it is not ours to keep current."""
        near = self.pods.get(workload.namespace)
        return self.pods.get("") if near is None else near

    def pods_of(self, workload: ObjectKey) -> Collection[PodRecord]:
        """Return the Pods of a workload; none where they are not known."""
        near = self.pods_near(workload)
        return () if near is None else near.of(workload)

    def follows(self, namespace: str) -> bool:
        """Return True if the workloads of a namespace are kept current."""
        return namespace in self.pods or "" in self.pods
