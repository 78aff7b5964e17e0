"""Puts the images of a Release on the workloads of a stage, as an image trigger would."""

from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import (
    Placed,
    RolledOut,
    StageRollout,
    as_declared,
    combined,
    drift_text,
)
from upwell.policy.promotion.stages import (
    NoContainerError,
    images_for,
    names_workload,
    namespace_of,
)
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.reconcilers.promotion.pipelines import (
    StagesOf,
    WorkloadReader,
    claim_on,
    nobody_elses,
    stage_workloads,
)
from upwell.reconcilers.promotion.placing.ports import ReleasePlacer, WorkloadRollouts


class ByStage:
    """Places as each stage says: in git, on its workloads here, or on those of clusters."""

    def __init__(
        self, workloads: ReleasePlacer, git: ReleasePlacer, clusters: ReleasePlacer | None = None
    ) -> None:
        self._workloads = workloads
        self._git = git
        self._clusters = clusters or workloads

    async def place(self, move: Move) -> StageRollout:
        """Do what is due."""
        return await self._of(move).place(move)

    async def observe(self, move: Move) -> StageRollout:
        """Change nothing."""
        return await self._of(move).observe(move)

    def _of(self, move: Move) -> ReleasePlacer:
        if not move.stage.runs_here:
            return self._clusters
        return self._workloads if move.stage.git is None else self._git


class Workloads:
    """The workloads of stages, whoever rolls them out."""

    def __init__(
        self,
        reader: WorkloadReader,
        rollouts: WorkloadRollouts,
        stages_of: StagesOf = nobody_elses,
    ) -> None:
        self._reader = reader
        self._rollouts = rollouts
        self._stages_of = stages_of

    async def place(self, move: Move) -> StageRollout:
        """Set the images where they are not yet; say how it goes.

        What a person holds is left as it is. Raises StoreError, or a retryable WorkloadError.
        """
        placed = await self._placed(move)
        if isinstance(placed, StageRollout):
            return placed
        return combined([await self._rollouts.place(one, move) for one in placed])

    async def observe(self, move: Move) -> StageRollout:
        """Say how the rollouts of the Release's digests go, and change nothing."""
        placed = await self._placed(move)
        if isinstance(placed, StageRollout):
            return placed
        seen = [Placed(one.workload, as_declared(one.workload, one.images)) for one in placed]
        return combined(self._rollouts.observe(one, move) for one in seen)

    async def drift(self, move: Move) -> str | None:
        """Return what the workloads have in place of the Release; empty: they have it.

        None: some are not looked at, since a person holds them. Raises StoreError, or a
        WorkloadError.
        """
        placed = await self._placed(move)
        if isinstance(placed, StageRollout):
            return placed.message
        told = [why for one in placed if (why := drift_text(one))]
        is_held = any(HOLD_ANNOTATION in one.workload.annotations for one in placed)
        return "; ".join(told) if told or not is_held else None

    async def _placed(self, move: Move) -> list[Placed] | StageRollout:
        pipeline, stage = move.pipeline, move.stage
        found = await stage_workloads(self._reader, pipeline, stage)
        missing = _missing(pipeline, stage, found)
        if missing:
            return StageRollout(RolledOut.GOING_ON, f"waits for {', '.join(missing)} to exist")
        if obstacle := self._rollouts.obstacle(pipeline, stage, ()):
            return StageRollout(RolledOut.GOING_ON, f"waits: {obstacle.message}")
        if claim := await claim_on(pipeline, stage, found, self._stages_of):
            return StageRollout(RolledOut.GOING_ON, f"waits for its workloads: {claim}")
        images = stage_images(move.release, stage)
        try:
            return [
                Placed(one, images_for(entry, one, images))
                for one in found
                if (entry := names_workload(pipeline, stage, one)) is not None
            ]
        except NoContainerError as error:
            return StageRollout(RolledOut.FAILED, str(error))


def _missing(pipeline: Pipeline, stage: Stage, found: list[Resource]) -> list[str]:
    """Return the workloads that the stage names and that do not exist."""
    namespace = namespace_of(pipeline, stage)
    known = {one.key for one in found}
    named = [ObjectKey(one.kind, namespace, one.name) for one in stage.workloads if one.name]
    missing = [str(key) for key in named if key not in known]
    if not named and stage.workloads and not found:
        return [f"a workload that a selector of stage {stage.name} matches"]
    return missing
