"""Native workloads with the records of their rollouts, for all that follows rollouts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.policy.cluster_rollouts.revisions import BEFORE_DEADLINES, with_revisions
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import TriggerVerdict
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts


@dataclass(frozen=True, slots=True)
class RolloutRecords:
    """Looks at workloads by their notes, their statuses, and their Pods as they are now."""

    cluster: ClusterParts
    clock: Callable[[], datetime]
    kept_back: dict[ObjectKey, TriggerVerdict] = field(default_factory=dict)
    """Verdicts of workloads whose images wait; made again by whoever sets images."""

    def of(self, workload: Workload) -> Workload:
        """Return a workload with its records, as it does now."""
        pods = self.cluster.pods_near(workload.key)
        shown = () if pods is None else pods.of(workload.key)
        return with_revisions(workload, shown, self.clock(), self.kept_back.get(workload.key))


def stored_records(workload: Workload) -> Workload:
    """Return a workload with its records by what is stored of it alone, whatever the time is."""
    return with_revisions(workload, (), BEFORE_DEADLINES)
