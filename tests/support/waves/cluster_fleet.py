"""Workloads that a cluster in memory rolls out, and the Waves of what they follow."""

from dataclasses import replace
from typing import override

from tests.support.cluster.memory_cluster import MemoryClusterPods, MemoryWorkloads
from tests.support.cluster.workloads import complete, pod, stuck, with_status_of
from tests.support.waves.fleet import Fleet

from upwell.api.apps import Deployment
from upwell.api.image import ImageStream
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion
from upwell.cluster.errors import WorkloadChangedError
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS
from upwell.policy.waves.budget import NO_BUDGET, RolloutBudget
from upwell.policy.waves.progress import NO_RULES, WaveRules
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import ClusterRolloutReconciler
from upwell.reconcilers.cluster_rollouts.records import (
    RolloutRecords,
    cluster_turns,
    goes_at_once_on_cluster,
)
from upwell.reconcilers.waves.gate import WaveGate
from upwell.reconcilers.waves.index import WaveIndex
from upwell.reconcilers.waves.waves import Waves


class ClusterFleet(Fleet):
    """A base that a vendor changes, and Deployments of a cluster that follow it."""

    def __init__(self, rules: WaveRules = NO_RULES, budget: RolloutBudget = NO_BUDGET) -> None:
        self.budget = budget
        self.pods = MemoryClusterPods()
        self.seen = PodIndex(self.pods)
        super().__init__(rules)

    @override
    def start(self) -> None:
        self.cluster = MemoryWorkloads(self.store)
        for kind in NATIVE_WORKLOADS:
            self.cache.on_change(kind, lambda _before, _after: None)
        records = RolloutRecords(ClusterParts(self.cluster, {"": self.seen}), self.clock)
        canaries = bool(self.rules.canary.share)
        self.gate = WaveGate(
            self.index, self.clock, canaries=canaries, hint=goes_at_once_on_cluster
        )
        turns = cluster_turns(self.cache, self.clock, self.budget)
        self.turns = turns
        self.native = ClusterRolloutReconciler(
            self.workload_index, records, self.clock, self.gate, turns
        )
        self.kept_back = records.kept_back
        index = WaveIndex(self.index, records.of)
        self.waves = Waves(index, self.clock, lambda: self.time, self.rules)

    @override
    async def rolls_out(self, namespace: str, name: str, phase: str = "Complete") -> None:
        """Let the cluster end the rollout of what the template has, and Upwell judge it."""
        found = await self.get_workload(namespace, name)
        is_good = phase == "Complete"
        report = complete(found) if is_good else stuck(found, f"{name} does not start")
        self.clock.advance(0 if is_good else found.spec.progress_deadline_seconds)
        await self.store.update_status(with_status_of(found, **report))
        await self.judge(found)
        if phase == "Failed":
            await self._finish_put_back(found)

    async def _finish_put_back(self, failed: Deployment) -> None:
        """Let the cluster end the rollout of what was put back, if anything was."""
        after = await self.get_workload(failed.namespace, failed.name)
        if after.generation > failed.generation:
            await self.store.update_status(with_status_of(after, **complete(after)))
            await self.judge(after)

    async def crashes(self, namespace: str, name: str) -> None:
        """Let the Pod of a Deployment crash again and again."""
        found = await self.get_workload(namespace, name)
        image = found.spec.template.spec.containers[0].image
        shown = pod(found, f"{name}-1", image=image, waits="CrashLoopBackOff", restarts=4)
        await self.pods.put(replace(shown, namespace=namespace))
        async for _ in self.seen._list():
            pass
        await self.judge(found)
        await self._finish_put_back(found)

    async def judge(self, workload: Deployment) -> None:
        """Reconcile a workload until nothing is written any more."""
        for _ in range(5):
            writes = self.cluster.writes
            await self.cache.ready(*NATIVE_WORKLOADS, ImageStream, Pipeline, Promotion)
            try:
                await self.native.reconcile(workload.key)
            except WorkloadChangedError:
                continue
            if writes == self.cluster.writes:
                return

    @override
    async def follow(self) -> list[str]:
        for one in (await self.store.list(Deployment)).items:
            await self.judge(one)
        return sorted(await self.set_now())
