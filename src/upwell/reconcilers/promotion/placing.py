"""Puts the images of a Release on the workloads of a stage, as an image trigger would."""

import json
from typing import Protocol

from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import (
    Placed,
    RolledOut,
    StageRollout,
    as_declared,
    stage_rollout,
)
from upwell.policy.promotion.stages import (
    NoContainerError,
    images_for,
    names_workload,
    namespace_of,
    refused_on_cluster,
)
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, with_images
from upwell.reconcilers.promotion.pipelines import StagesOf, claim_on, nobody_elses, stage_workloads
from upwell.store.interface import Store


class ReleasePlacer(Protocol):
    """Has a stage run the images of a Release."""

    async def place(self, move: Move) -> StageRollout:
        """Do what is due, again if need be, and say how it goes; raises StoreError."""
        ...

    async def observe(self, move: Move) -> StageRollout:
        """Say how the stage stands to the Release, and change nothing; raises StoreError."""
        ...


class ByStage:
    """Places as each stage says: in git, or on its workloads."""

    def __init__(self, workloads: ReleasePlacer, git: ReleasePlacer) -> None:
        self._workloads = workloads
        self._git = git

    async def place(self, move: Move) -> StageRollout:
        """Do what is due."""
        return await self._of(move).place(move)

    async def observe(self, move: Move) -> StageRollout:
        """Change nothing."""
        return await self._of(move).observe(move)

    def _of(self, move: Move) -> ReleasePlacer:
        return self._workloads if move.stage.git is None else self._git


class RefusedOnCluster:
    """Leaves a cluster's workloads alone: for promotions that began on one machine."""

    async def place(self, move: Move) -> StageRollout:
        """Change nothing, and say why."""
        return await self.observe(move)

    async def observe(self, move: Move) -> StageRollout:
        """Say why it is not seen how the rollouts go."""
        return StageRollout(RolledOut.GOING_ON, refused_on_cluster(move.stage))


class Workloads:
    """The workloads of stages."""

    def __init__(self, store: Store, stages_of: StagesOf = nobody_elses) -> None:
        self._store = store
        self._stages_of = stages_of

    async def place(self, move: Move) -> StageRollout:
        """Set the images where they are not yet; say how it goes.

        What a person holds is left as it is. Raises StoreError.
        """
        placed = await self._placed(move)
        if isinstance(placed, StageRollout):
            return placed
        now = []
        for one in placed:
            workload = one.workload
            if one.is_missing and HOLD_ANNOTATION not in workload.annotations:
                workload = await self._store.update(_with(workload, one, move))
            now.append(Placed(workload, one.images))
        return stage_rollout(now)

    async def observe(self, move: Move) -> StageRollout:
        """Say how the rollouts of the Release's digests go, and change nothing."""
        placed = await self._placed(move)
        if isinstance(placed, StageRollout):
            return placed
        return stage_rollout(
            Placed(one.workload, as_declared(one.workload, one.images)) for one in placed
        )

    async def _placed(self, move: Move) -> list[Placed] | StageRollout:
        pipeline, stage = move.pipeline, move.stage
        found = await stage_workloads(self._store, pipeline, stage)
        missing = _missing(pipeline, stage, found)
        if missing:
            return StageRollout(RolledOut.GOING_ON, f"waits for {', '.join(missing)} to exist")
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


def _with(workload: Resource, placed: Placed, move: Move) -> Resource:
    """Return the workload with its images, and a note of whose they are."""
    note = {
        "pipeline": f"{move.pipeline.namespace}/{move.pipeline.name}",
        "stage": move.stage.name,
        "release": move.release.name,
        "containers": sorted(slot[0] for slot in placed.images),
    }
    annotations = {**workload.annotations, PROMOTED_ANNOTATION: json.dumps(note)}
    return with_images(workload.with_metadata(annotations=annotations), placed.images)
