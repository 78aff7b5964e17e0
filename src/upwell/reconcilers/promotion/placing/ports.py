"""Ports of placing: a stage as a whole, and how one workload gets its images and runs them."""

from collections.abc import Sequence
from typing import Protocol

from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.health.promotion import StageObstacle
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import Placed, StageRollout


class ReleasePlacer(Protocol):
    """Has a stage run the images of a Release."""

    async def place(self, move: Move) -> StageRollout:
        """Do what is due, again if need be, and say how it goes.

        Raises StoreError, or a retryable WorkloadError.
        """
        ...

    async def observe(self, move: Move) -> StageRollout:
        """Say how the stage stands to the Release, and change nothing; raises StoreError."""
        ...


class WorkloadRollouts(Protocol):
    """Sets images of workloads, and judges the rollouts that follow: one workload at a time."""

    def obstacle(
        self, pipeline: Pipeline, stage: Stage, workloads: Sequence[Resource]
    ) -> StageObstacle | None:
        """Return why the workloads of a stage cannot be set or followed here; None: they can."""
        ...

    async def place(self, placed: Placed, move: Move) -> StageRollout:
        """Set the images where they are missing, and say how the workload's rollout goes.

        What a person holds is left as it is. Raises StoreError, or a retryable ClusterError.
        """
        ...

    def observe(self, placed: Placed, move: Move) -> StageRollout:
        """Say how the rollout of these images goes, and change nothing."""
        ...
