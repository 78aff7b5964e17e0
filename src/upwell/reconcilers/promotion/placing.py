"""Puts the images of a Release on the workloads of a stage, as an image trigger would."""

import json
from collections.abc import Mapping

from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Stage
from upwell.policy.ownership import PROMOTED_ANNOTATION
from upwell.policy.promotion.rollouts import Placed, RolledOut, StageRollout, stage_rollout
from upwell.policy.promotion.stages import (
    NoContainerError,
    images_for,
    names_workload,
    namespace_of,
)
from upwell.policy.rollout_triggers import HOLD_ANNOTATION, with_images
from upwell.reconcilers.promotion.pipelines import stage_workloads
from upwell.store.interface import Store


class Workloads:
    """The workloads of stages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def place(
        self, pipeline: Pipeline, stage: Stage, release: str, images: Mapping[str, str]
    ) -> StageRollout:
        """Set `images` (component -> pull spec) where they are not yet; say how it goes.

        What a person holds is left as it is. Raises StoreError.
        """
        placed = await self._placed(pipeline, stage, images)
        if isinstance(placed, StageRollout):
            return placed
        now = []
        for one in placed:
            workload = one.workload
            if one.lacks and HOLD_ANNOTATION not in workload.annotations:
                workload = await self._store.update(_with(workload, one, pipeline, stage, release))
            now.append(Placed(workload, one.images))
        return stage_rollout(now)

    async def observe(
        self, pipeline: Pipeline, stage: Stage, images: Mapping[str, str]
    ) -> StageRollout:
        """Say how the rollouts of `images` go, and change nothing."""
        placed = await self._placed(pipeline, stage, images)
        return placed if isinstance(placed, StageRollout) else stage_rollout(placed)

    async def _placed(
        self, pipeline: Pipeline, stage: Stage, images: Mapping[str, str]
    ) -> list[Placed] | StageRollout:
        found = await stage_workloads(self._store, pipeline, stage)
        missing = _missing(pipeline, stage, found)
        if missing:
            return StageRollout(RolledOut.GOING_ON, f"waits for {', '.join(missing)} to exist")
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


def _with(
    workload: Resource, placed: Placed, pipeline: Pipeline, stage: Stage, release: str
) -> Resource:
    """Return the workload with its images, and a note of whose they are."""
    note = {
        "pipeline": f"{pipeline.namespace}/{pipeline.name}",
        "stage": stage.name,
        "release": release,
        "containers": sorted(slot[0] for slot in placed.images),
    }
    annotations = {**workload.annotations, PROMOTED_ANNOTATION: json.dumps(note)}
    return with_images(workload.with_metadata(annotations=annotations), placed.images)
