"""Workloads that this Upwell rolls out itself: set in the store, judged by their revisions."""

from collections.abc import Sequence

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import Placed, StageRollout, promotion_mark, workload_rollout
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, with_images
from upwell.store.interface import Store


class MachineRollouts:
    """Implements WorkloadRollouts on one machine, and for DeploymentConfigs of a cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def obstacle(
        self, _pipeline: Pipeline, _stage: Stage, _workloads: Sequence[Resource]
    ) -> StageObstacle | None:
        """Return None: the server sets and sees all workloads."""
        return None

    async def place(self, placed: Placed, move: Move) -> StageRollout:
        """Update the template, and judge; raises StoreError."""
        if placed.is_missing and HOLD_ANNOTATION not in placed.workload.annotations:
            workload = await self._store.update(_with(placed, move))
            placed = Placed(workload, placed.images)
        return workload_rollout(placed)

    def observe(self, placed: Placed, _move: Move) -> StageRollout:
        """Judge by the status."""
        return workload_rollout(placed)


def _with(placed: Placed, move: Move) -> Resource:
    """Return the workload with its images, and a note of whose they are."""
    mark = {PROMOTED_ANNOTATION: promotion_mark(placed, move)}
    annotations = {**placed.workload.annotations, **mark}
    return with_images(placed.workload.with_metadata(annotations=annotations), placed.images)
