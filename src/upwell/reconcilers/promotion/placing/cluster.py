"""Workloads that a cluster rolls out: their images are applied, their rollouts are judged."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from upwell.api.apps import DeploymentConfig
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Purpose
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    FieldOwnedError,
    WorkloadChangedError,
)
from upwell.cluster.interface import ClusterWorkloads, ImageWrite, PodRecord
from upwell.policy.cluster_rollouts.decision import CHANGED, TAKEN, RolloutStep
from upwell.policy.cluster_rollouts.last_write import last_write
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.native_rollouts import native_obstacle, native_rollout, native_step
from upwell.policy.promotion.rollouts import Placed, RolledOut, StageRollout
from upwell.reconcilers.cluster_rollouts.events import ShownWrites, WorkloadEvents
from upwell.reconcilers.cluster_rollouts.image_policies import ImageRequirement
from upwell.reconcilers.promotion.placing.ports import WorkloadRollouts
from upwell.reconcilers.signatures.questions import ImagePolicyError


class SeenCluster(Protocol):
    """A cluster that is written to, and what its Pods were seen to run."""

    @property
    def workloads(self) -> ClusterWorkloads:
        """Writes to workloads."""
        ...

    @property
    def policies(self) -> ImageRequirement:
        """Judge of images before they are set."""
        ...

    @property
    def shown_writes(self) -> ShownWrites:
        """Writes that were told, whoever has made them."""
        ...

    def pods_of(self, workload: ObjectKey) -> Collection[PodRecord]:
        """Return the Pods of a workload; none where they are not known."""
        ...

    def follows(self, namespace: str) -> bool:
        """Return True if workloads of a namespace may be set."""
        ...


class ClusterRollouts:
    """Implements WorkloadRollouts on a cluster: one write for a workload and a Release."""

    def __init__(
        self,
        cluster: SeenCluster,
        clock: Callable[[], datetime],
        configs: WorkloadRollouts | None = None,
    ) -> None:
        """`configs` is for DeploymentConfigs, where this Upwell rolls these out; None: nowhere."""
        self._cluster = cluster
        self._clock = clock
        self._configs = configs
        self._events = WorkloadEvents(cluster.workloads, cluster.shown_writes)

    def obstacle(
        self, pipeline: Pipeline, stage: Stage, workloads: Sequence[Resource]
    ) -> StageObstacle | None:
        """Return why a stage is not set: its kind of workload, its namespace, or another owner."""
        rolls_configs = self._configs is not None
        return native_obstacle(
            pipeline, stage, workloads, self._cluster.follows, rolls_configs=rolls_configs
        )

    async def place(self, placed: Placed, move: Move) -> StageRollout:
        """Apply the images, unless somebody else owns them, and judge."""
        if (configs := self._for_config(placed)) is not None:
            return await configs.place(placed, move)
        return await self._apply(placed, move)

    def observe(self, placed: Placed, move: Move) -> StageRollout:
        """Judge by the workload's status, its note and its Pods."""
        if (configs := self._for_config(placed)) is not None:
            return configs.observe(placed, move)
        return native_rollout(placed, self._pods(placed), move, self._clock())

    async def _apply(self, placed: Placed, move: Move) -> StageRollout:
        step = native_step(placed, self._pods(placed), move, self._clock())
        if step is None:
            return self.observe(placed, move)
        key = placed.workload.key
        if step.note is None:
            return _left(placed, step) or self.observe(placed, move)
        write = ImageWrite(placed.workload, step.images, step.annotations, step.take_over)
        try:
            if _begins_anew(move):
                await self._cluster.policies.require(key.namespace, placed.images.values())
            await self._events.show_replaced(placed.workload, self._clock())
            written = await self._cluster.workloads.set_images(write)
        except WorkloadChangedError as error:
            return StageRollout(RolledOut.GOING_ON, f"{key} has changed meanwhile: {error}")
        except FieldOwnedError as error:
            return StageRollout(RolledOut.TAKEN_OVER, f"{key}: {error}")
        except (ClusterError, ImagePolicyError) as error:
            if error.retryable and isinstance(error, ClusterError):
                raise
            await self._events.show_refusal(placed.workload, error, step.message)
            why, is_denied = f"{key} is not written: {error}", isinstance(error, AccessDeniedError)
            return StageRollout(RolledOut.GOING_ON, why, away=is_denied)
        await self._events.show_write(placed.workload, last_write(step.note))
        return self.observe(replace(placed, workload=written), move)

    def _for_config(self, placed: Placed) -> WorkloadRollouts | None:
        return self._configs if isinstance(placed.workload, DeploymentConfig) else None

    def _pods(self, placed: Placed) -> Collection[PodRecord]:
        return self._cluster.pods_of(placed.workload.key)


def _begins_anew(move: Move) -> bool:
    """Return True if a move brings what has not run in its stage before: policies are asked."""
    return move.purpose is Purpose.PROMOTE and not move.puts_back


def _left(placed: Placed, step: RolloutStep) -> StageRollout | None:
    """Say why images are not set, where that is no judgement of the rollout."""
    text = f"{placed.workload.key}: {step.message}"
    if step.reason == TAKEN:
        return StageRollout(RolledOut.TAKEN_OVER, text)
    if step.reason == CHANGED:
        return StageRollout(RolledOut.FAILED, text)
    return None
