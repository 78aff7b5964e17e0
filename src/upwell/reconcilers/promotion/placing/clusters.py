"""Stages on clusters: each cluster gets the Release in its turn, and is looked at by itself."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import Resource
from upwell.api.pipeline import ClusterPhase, ClusterProgress, Pipeline, Stage
from upwell.api.promotion import Release
from upwell.cluster.errors import AccessDeniedError, ClusterError, ClusterUnavailableError
from upwell.cluster.interface import PodRecord, RemoteCluster, RemoteClusters
from upwell.machine.tasks import together
from upwell.oci import InvalidReferenceError
from upwell.policy.promotion.clusters.catching_up import put_back_hint, with_drift
from upwell.policy.promotion.clusters.spread import ClusterSpread
from upwell.policy.promotion.clusters.targets import (
    ClusterTarget,
    cluster_obstacle,
    targets_of,
)
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.stages import PipelineStage, namespace_of, stage_in, stages_with
from upwell.reconcilers.cluster_rollouts.events import ShownWrites
from upwell.reconcilers.cluster_rollouts.image_policies import NO_POLICIES, RolloutPolicies
from upwell.reconcilers.promotion.pipelines import StagesOf
from upwell.reconcilers.promotion.placing.ports import ReleasePlacer
from upwell.reconcilers.promotion.placing.remote import (
    ReleasePolicies,
    RemoteParts,
    RemoteRollouts,
)
from upwell.reconcilers.promotion.placing.workloads import Workloads
from upwell.registry.errors import RegistryError
from upwell.store.interface import Store

log = logging.getLogger(__name__)


class ImageProvider(Protocol):
    """Makes sure that a stage can pull a Release's images."""

    async def provide(self, release: Release, stage: Stage, namespace: str) -> Mapping[str, str]:
        """Return component -> pull spec, copied to the stage's mirror; raises a RegistryError."""
        ...


class ClusterPlacement:
    """Implements ReleasePlacer for stages on clusters.

    A cluster that does not answer, or denies what is needed, is away: it holds up its own part
    alone. Of a stage that is kept in git, `committed` has the branch name the digests, and its
    cluster is only looked at.
    """

    def __init__(
        self,
        store: Store,
        clusters: RemoteClusters,
        images: ImageProvider,
        committed: ReleasePlacer,
        clock: Callable[[], datetime],
        policies: RolloutPolicies = NO_POLICIES,
    ) -> None:
        self._policies = policies
        self._store = store
        self._clusters = clusters
        self._images = images
        self._committed = committed
        self._clock = clock
        self._told: dict[str, ShownWrites] = {}
        """By the uids of Clusters."""

    async def place(self, move: Move) -> StageRollout:
        """Work on the clusters whose turn it is, side by side."""
        targets = await self._targets(move)
        if isinstance(targets, StageRollout):
            return targets
        in_git = await self._commit(targets[0], move, change=True)
        if in_git.state is not RolledOut.COMPLETE:
            return in_git
        spread = ClusterSpread.of(
            move.stage,
            move.release.name,
            targets,
            move.status.clusters,
            puts_back=move.puts_back,
        )
        due = spread.due()
        results = await together(self._place(one, move, spread) for one in due)
        found = {one.name: result for one, result in zip(due, results, strict=True)}
        outcome = spread.outcome(spread.records(found, self._clock()), found)
        return replace(outcome, commit=in_git.commit)

    async def observe(self, move: Move) -> StageRollout:
        """Look at all that are reached, and change nothing."""
        targets = await self._targets(move)
        if isinstance(targets, StageRollout):
            return targets
        in_git = await self._commit(targets[0], move, change=False)
        if in_git.state is not RolledOut.COMPLETE:
            return in_git
        spread = ClusterSpread.of(move.stage, move.release.name, targets, move.status.clusters)
        reached = [one for one in targets if not one.away]
        results = await together(self._observe(one, move) for one in reached)
        found = {one.name: result for one, result in zip(reached, results, strict=True)}
        outcome = spread.outcome(spread.records(found, self._clock()), found)
        return replace(outcome, commit=in_git.commit)

    async def catch_up(self, move: Move, *, looks: bool) -> tuple[ClusterProgress, ...]:
        """Bring a Release to clusters that were away, or came later; return how all stand.

        With `looks`, those that have it are asked whether they have it still. Raises StoreError.
        """
        clusters = (await self._store.list(Cluster)).items
        targets = targets_of(move.pipeline, move.stage, clusters)
        spread = ClusterSpread.of(
            move.stage,
            move.release.name,
            targets,
            move.status.clusters,
            puts_back=True,
            has_ended=True,
        )
        due = spread.left_behind()
        results = await together(self._place(one, move, spread) for one in due)
        found = {one.name: result for one, result in zip(due, results, strict=True)}
        had = spread.settled() if looks else ()
        drifts = await together(self._drift(one, move) for one in had)
        seen = {one.name: why for one, why in zip(had, drifts, strict=True) if why is not None}
        now = self._clock()
        how = put_back_hint(move.stage, move.release.name)
        return with_drift(spread.records(found, now), seen, how, now)

    async def _drift(self, target: ClusterTarget, move: Move) -> str | None:
        """Return what a cluster has in place of the Release; None: nobody knows, or it is held."""
        there = replace(move, stage=stage_in(move.stage, target.cluster))
        try:
            remote = await self._clusters.connect(target.cluster)
            rollouts = self._rollouts(target, remote, (), move.release)
            return await self._workloads(target, remote, rollouts).drift(there)
        except ClusterError as error:
            log.info("cluster not read", extra={"cluster": target.name, "why": str(error)})
            return None

    async def _targets(self, move: Move) -> Sequence[ClusterTarget] | StageRollout:
        """Return the clusters that the stage means; where there are none, what it waits for."""
        clusters = (await self._store.list(Cluster)).items
        for gone in self._told.keys() - {one.uid for one in clusters}:
            self._told.pop(gone, None)
        targets = targets_of(move.pipeline, move.stage, clusters)
        if targets:
            return targets
        obstacle = cluster_obstacle(move.pipeline, move.stage, clusters)
        why = "a cluster" if obstacle is None else obstacle.message
        return StageRollout(RolledOut.GOING_ON, f"waits: {why}", untimed=True)

    async def _commit(self, target: ClusterTarget, move: Move, *, change: bool) -> StageRollout:
        """Have the branch of a stage that is kept in git name what the cluster's nodes pull.

        The cluster need not be reached for that.
        """
        if move.stage.git is None:
            return StageRollout(RolledOut.COMPLETE)
        there = replace(move, stage=stage_in(move.stage, target.cluster))
        if not change:
            return await self._committed.observe(there)
        try:
            if not move.status.commit:
                await self._images.provide(move.release, there.stage, move.pipeline.namespace)
        except (RegistryError, InvalidReferenceError) as error:
            return _uncopied(error)
        return await self._committed.place(there)

    async def _place(
        self, target: ClusterTarget, move: Move, spread: ClusterSpread
    ) -> StageRollout:
        if move.stage.git is not None:
            return await self._observe(target, move)
        there = replace(move, stage=stage_in(move.stage, target.cluster))
        try:
            if spread.phase(target) is ClusterPhase.WAITING:
                # Its first turn: nothing is set before its nodes can pull it.
                await self._images.provide(move.release, there.stage, move.pipeline.namespace)
            remote, rollouts = await self._look(target, move)
            found = await self._workloads(target, remote, rollouts).place(there)
            if found.state is not RolledOut.GOING_ON:
                await rollouts.show_waiting()
        except (RegistryError, InvalidReferenceError) as error:
            return _uncopied(error)
        except ClusterError as error:
            return _unreached(target, error)
        return found

    async def _observe(self, target: ClusterTarget, move: Move) -> StageRollout:
        there = replace(move, stage=stage_in(move.stage, target.cluster))
        try:
            remote, rollouts = await self._look(target, move)
            return await self._workloads(target, remote, rollouts).observe(there)
        except ClusterError as error:
            return _unreached(target, error)

    async def _look(
        self, target: ClusterTarget, move: Move
    ) -> tuple[RemoteCluster, RemoteRollouts]:
        """Return a cluster, and what sets its workloads by its Pods of now."""
        remote = await self._clusters.connect(target.cluster)
        pods = await remote.pods(namespace_of(move.pipeline, move.stage))
        return remote, self._rollouts(target, remote, pods, move.release)

    def _rollouts(
        self,
        target: ClusterTarget,
        remote: RemoteCluster,
        pods: Iterable[PodRecord],
        release: Release,
    ) -> RemoteRollouts:
        policies = ReleasePolicies(self._policies, release)
        told = self._told.setdefault(target.cluster.uid, ShownWrites())
        told.prune(self._clock())
        parts = RemoteParts(remote.workloads, pods, policies, told)
        return RemoteRollouts(parts, self._clock)

    def _workloads(
        self, target: ClusterTarget, remote: RemoteCluster, rollouts: RemoteRollouts
    ) -> Workloads:
        return Workloads(remote, rollouts, self._stages_on(target.cluster))

    def _stages_on(self, cluster: Cluster) -> StagesOf:
        """Return what says to which stages on that cluster a workload belongs."""

        async def stages_of(workload: Resource) -> Sequence[PipelineStage]:
            pipelines = (await self._store.list(Pipeline)).items
            return tuple(stages_with(workload, (_on(one, cluster) for one in pipelines)))

        return stages_of


def _on(pipeline: Pipeline, cluster: Cluster) -> Pipeline:
    """Return a Pipeline with its stages on a cluster alone, as that one sees them."""
    stages = tuple(
        stage_in(stage, cluster)
        for stage in pipeline.spec.stages
        if not stage.runs_here and targets_of(pipeline, stage, (cluster,))
    )
    return pipeline.model_copy(update={"spec": pipeline.spec.model_copy(update={"stages": stages})})


def _uncopied(error: RegistryError | InvalidReferenceError) -> StageRollout:
    is_passing = getattr(error, "retryable", False)
    state = RolledOut.GOING_ON if is_passing else RolledOut.FAILED
    return StageRollout(state, f"its images cannot be copied: {error}", begun=False)


def _unreached(target: ClusterTarget, error: ClusterError) -> StageRollout:
    log.info("cluster not written", extra={"cluster": target.name, "why": str(error)})
    is_away = isinstance(error, ClusterUnavailableError | AccessDeniedError)
    return StageRollout(RolledOut.GOING_ON, str(error), away=is_away)
