"""Native workloads with the records of their rollouts, for all that follows rollouts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.apps import DeploymentConfig
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache
from upwell.policy.cluster_rollouts.revisions import BEFORE_DEADLINES, with_revisions
from upwell.policy.rollouts.commands import goes_at_once
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import TriggerVerdict
from upwell.policy.waves.budget import RolloutBudget
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.rollouts.turns import RolloutTurns


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


def cluster_turns(
    cache: ObjectCache, clock: Callable[[], datetime], budget: RolloutBudget
) -> RolloutTurns:
    """Return the turns of all rollouts of a cluster, whoever carries them out."""
    return RolloutTurns(cache, clock, budget, stored_records, goes_at_once_on_cluster)


def goes_at_once_on_cluster(workload: Resource) -> str:
    """Name the command that rolls out what is kept back, where Upwell itself does; else nothing."""
    return goes_at_once(workload) if isinstance(workload, DeploymentConfig) else ""
