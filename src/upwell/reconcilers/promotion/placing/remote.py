"""Workloads of another cluster: read when they are asked for, set, judged, and put back.

What the cluster's own Upwell would follow by watches is looked at here while a promotion is under
way: nobody watches a cluster on which nothing moves.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Release
from upwell.cluster.errors import AccessDeniedError, ClusterError, WorkloadChangedError
from upwell.cluster.interface import ClusterWorkloads, ImageWrite, PodRecord
from upwell.policy.builds.triggers import digest_of
from upwell.policy.cluster_rollouts.decision import RolloutStep, completed, put_back
from upwell.policy.cluster_rollouts.last_write import LastWrite, owed_write
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS, observe
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import Placed, RolledOut, StageRollout
from upwell.reconcilers.cluster_rollouts.events import ShownWrites, WorkloadEvents
from upwell.reconcilers.cluster_rollouts.image_policies import ImageRequirement
from upwell.reconcilers.promotion.placing.cluster import ClusterRollouts


@dataclass(frozen=True, slots=True)
class ReleasePolicies:
    """Implements ImageRequirement by the names that a Release has its images by.

    The registry that the cluster pulls from has them under others, and need have no evidence.
    """

    policies: ImageRequirement
    release: Release

    async def require(self, namespace: str, images: Iterable[str]) -> None:
        """Raise ImagePolicyError if a policy here keeps one of the images out of a namespace."""
        digests = set(map(digest_of, images))
        named = [one.image for one in self.release.spec.components]
        await self.policies.require(namespace, [one for one in named if digest_of(one) in digests])


class RemoteParts:
    """Implements SeenCluster by Pods as they were listed for one look."""

    def __init__(
        self,
        workloads: ClusterWorkloads,
        pods: Iterable[PodRecord],
        policies: ImageRequirement,
        shown_writes: ShownWrites,
    ) -> None:
        """`shown_writes` is kept from look to look."""
        self.workloads = workloads
        self.policies = policies
        self.shown_writes = shown_writes
        self._pods: dict[ObjectKey, list[PodRecord]] = defaultdict(list)
        for pod in pods:
            self._pods[ObjectKey(pod.owner_kind, pod.namespace, pod.owner)].append(pod)

    def pods_of(self, workload: ObjectKey) -> Collection[PodRecord]:
        """Return the Pods of a workload."""
        return self._pods.get(workload, ())

    def follows(self, namespace: str) -> bool:
        """Return True: that a stage may be in the namespace was asked before."""
        del namespace
        return True


class RemoteRollouts:
    """Implements WorkloadRollouts on another cluster, for one look."""

    def __init__(self, parts: RemoteParts, clock: Callable[[], datetime]) -> None:
        self._parts = parts
        self._clock = clock
        self._rollouts = ClusterRollouts(parts, clock)
        self._events = WorkloadEvents(parts.workloads, parts.shown_writes)
        self._waiting: list[tuple[Resource, LastWrite]] = []
        """Writes that were not told in this look, as it is not their turn yet."""

    def obstacle(
        self, pipeline: Pipeline, stage: Stage, workloads: Sequence[Resource]
    ) -> StageObstacle | None:
        """Return why a stage is not set."""
        return self._rollouts.obstacle(pipeline, stage, workloads)

    async def place(self, placed: Placed, move: Move) -> StageRollout:
        """Put back what has failed, or else apply the images; and judge."""
        note = RolloutNote.of(placed.workload)
        await self._show_owed(placed.workload, note)
        step = self._due(placed, note)
        if step is None or step.note is None:
            return await self._rollouts.place(placed, move)
        write = ImageWrite(placed.workload, step.images, step.annotations, step.take_over)
        try:
            await self._events.show_replaced(placed.workload, self._clock())
            written = await self._parts.workloads.set_images(write)
        except WorkloadChangedError as error:
            why = f"{placed.workload.key} has changed meanwhile: {error}"
            return StageRollout(RolledOut.GOING_ON, why)
        except ClusterError as error:
            if error.retryable:
                raise
            why = f"{placed.workload.key} is not written: {error}"
            is_denied = isinstance(error, AccessDeniedError)
            return StageRollout(RolledOut.GOING_ON, why, away=is_denied)
        await self._events.show_write(written, owed_write(step.note, self._clock()))
        return self.observe(replace(placed, workload=written), move)

    def observe(self, placed: Placed, move: Move) -> StageRollout:
        """Judge by the workload's status, its note and its Pods."""
        return self._rollouts.observe(placed, move)

    async def show_waiting(self) -> None:
        """Show the Events that waited for their turns: nobody looks again."""
        for workload, write in self._waiting:
            await self._events.show_write(workload, write)

    async def _show_owed(self, workload: Resource, note: RolloutNote) -> None:
        """Show the Event of a write whose process may have been stopped before it told of that."""
        now = self._clock()
        write = owed_write(note, now)
        wait = await self._events.show_owed(workload, write, now)
        if write is not None and wait is not None:
            self._waiting.append((workload, write))

    def _due(self, placed: Placed, note: RolloutNote) -> RolloutStep | None:
        """Return how a rollout that failed is undone, or a complete one is noted."""
        workload = placed.workload
        if not isinstance(workload, NATIVE_WORKLOADS) or not note.images:
            return None
        now = self._clock()
        observed = observe(workload, self._parts.pods_of(workload.key), note, now)
        return put_back(workload, note, observed, now) or completed(workload, note, observed)
