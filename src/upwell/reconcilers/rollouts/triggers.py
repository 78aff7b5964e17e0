"""Image change triggers of workloads: sets the image that a tag stands for, and says why not."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from upwell.api.apps import (
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    ResolvedTrigger,
    StatefulSet,
)
from upwell.api.conditions import set_condition, without
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.controller import Controller, Result, Watch
from upwell.policy.images.streams import StreamName, resolve_tag
from upwell.policy.promotion.stages import setting_stage, stages_with
from upwell.policy.rollouts.image_ownership import declared_images, is_pinned
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.summary import serving
from upwell.policy.rollouts.triggers import (
    IMAGE_TRIGGERED,
    Reason,
    Slot,
    TriggerVerdict,
    decide,
    followers_of,
    hold_end,
    set_aside,
    with_images,
    without_hold,
)
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.images.named_streams import read_streams
from upwell.reconcilers.rollouts.gate import (
    ImageUpdate,
    OpenGate,
    RolloutGate,
    RolloutPermits,
)
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.turns import RolloutTurns
from upwell.store.interface import NotFoundError

type Triggered = Deployment | StatefulSet | DaemonSet | DeploymentConfig | CronJob

TRIGGERED: tuple[type[Triggered], ...] = (
    Deployment,
    StatefulSet,
    DaemonSet,
    DeploymentConfig,
    CronJob,
)


class WorkloadTriggerReconciler:
    """Writes into the template what the tags say, only when it differs; the rollout follows."""

    def __init__(
        self,
        index: WorkloadIndex,
        clock: Callable[[], datetime],
        gate: RolloutGate | None = None,
        turns: RolloutTurns | None = None,
        kinds: Sequence[type[Triggered]] = TRIGGERED,
    ) -> None:
        self._store = index.cache.store
        self._index = index
        self._clock = clock
        turns = turns or RolloutTurns(index.cache, clock, NO_BUDGET)
        self._permits = RolloutPermits(gate or OpenGate(), turns)
        self._kinds = {kind.KIND.kind: kind for kind in kinds}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Set the images of the workload that `key` names, and report the decision."""
        try:
            workload = await self._store.get(self._kinds[key.kind], key.namespace, key.name)
        except KeyError:
            return Result()  # somebody else sets the images of its kind
        except NotFoundError:
            self._permits.leave(key)
            return Result()
        if workload.is_deleting:
            self._permits.leave(key)
            return Result()
        end = hold_end(workload)
        if end is not None and end <= self._clock():
            workload = await self._store.update(without_hold(workload))
            end = None
        followed = {entry.stream for entry in followers_of(workload).entries}
        # The verdict names one that is not there.
        streams = await read_streams(self._store, followed)
        verdict = await self._verdict(workload, streams)
        waits = [(end - self._clock()).total_seconds()] if end is not None else []
        if verdict is not None and verdict.images:
            verdict, wait = await self._gated(workload, verdict, streams)
            waits += [wait] if wait is not None else []
        if verdict is not None and verdict.images:
            workload = await self._set(workload, verdict)
        elif verdict is None or verdict.reason is not Reason.WAITS_FOR_TURN:
            self._permits.leave(key)
        await self._report(workload, verdict, streams)
        return Result(min(waits, default=None))

    async def _gated(
        self,
        workload: Triggered,
        verdict: TriggerVerdict,
        streams: Mapping[StreamName, ImageStream],
    ) -> tuple[TriggerVerdict, float | None]:
        """Return the verdict without what is kept back, and when that is asked again, if ever.

        What runs nothing yet gets its images at once.
        """
        updates = _updates(workload, verdict.images)
        verdict, wait = await self._permits.pass_gate(workload, verdict, updates, streams)
        if updates and verdict.images:
            verdict, turn = self._permits.take_turn(workload, verdict)
            wait = wait if verdict.images else turn
        return verdict, wait

    async def _set(self, workload: Triggered, verdict: TriggerVerdict) -> Triggered:
        """Set the images; whoever has waited for a turn has it until the rollout ends."""
        try:
            workload = await self._store.update(with_images(workload, verdict.images))
            if self._permits.limited:
                await self._index.cache.wait_for(workload)
        finally:
            self._permits.began(workload.key)
        return workload

    async def _verdict(
        self, workload: Triggered, streams: Mapping[StreamName, ImageStream]
    ) -> TriggerVerdict | None:
        """Decide, unless a Pipeline sets the workload's images."""
        await self._index.ready()
        staged = setting_stage(self._index.stages_of(workload))
        verdict = decide(workload, streams) if staged is None else None
        if verdict is not None and verdict.images:
            # Before anything is changed, the store is asked: the index may be late.
            pipelines = (await self._store.list(Pipeline)).items
            staged = setting_stage(stages_with(workload, pipelines))
        if staged is None:
            return verdict
        pipeline, stage = staged
        return set_aside(workload, f"stage {stage.name} of {pipeline.key}")

    async def _report(
        self,
        workload: Triggered,
        verdict: TriggerVerdict | None,
        streams: dict[StreamName, ImageStream],
    ) -> None:
        before = workload.status.conditions
        after = without(before, IMAGE_TRIGGERED)
        if verdict is not None:
            condition = Condition(
                type=IMAGE_TRIGGERED,
                status="True" if verdict.resolved else "False",
                reason=verdict.reason.value,
                message=verdict.message,
                observed_generation=workload.generation,
            )
            after = set_condition(before, condition, self._clock())
        changes: dict[str, object] = {"conditions": after}
        if isinstance(workload, DeploymentConfig) and verdict is not None and verdict.resolved:
            changes["triggered"] = _triggered(workload, streams)
        status = workload.status.model_copy(update=changes)
        if status != workload.status:
            await self._store.update_status(workload.with_status(status))


def _updates(workload: Triggered, images: Mapping[Slot, str]) -> Sequence[ImageUpdate]:
    """Return which images take the place of others that run."""
    if isinstance(workload, WORKLOADS) and serving(workload) is None:
        return ()
    declared = declared_images(workload, images)
    return [
        ImageUpdate(slot, declared[slot], image)
        for slot, image in images.items()
        if is_pinned(declared.get(slot, ""))
    ]


def _triggered(
    config: DeploymentConfig, streams: dict[StreamName, ImageStream]
) -> tuple[ResolvedTrigger, ...]:
    """Return what the triggers set: OpenShift's lastTriggeredImage, kept out of the spec."""
    resolved: list[ResolvedTrigger] = []
    for entry in followers_of(config).automatic():
        stream = streams.get(entry.stream)
        image = None if stream is None else resolve_tag(stream, entry.tag.tag)
        if image is not None:
            source = entry.tag.reference
            resolved.append(ResolvedTrigger(container=entry.slot[0], from_=source, image=image))
    return tuple(resolved)


def workload_trigger_controller(
    index: WorkloadIndex,
    clock: Callable[[], datetime],
    gate: RolloutGate | None = None,
    *,
    turns: RolloutTurns | None = None,
    watches: Sequence[Watch[Any]] = (),
    kinds: Sequence[type[Triggered]] = TRIGGERED,
    workers: int = 2,
) -> Controller:
    """Return the controller of the image triggers of workloads of these kinds.

    `turns` say whose rollout is next, where not all begin at once; one budget is for all kinds.
    `gate` may keep images back; `watches` say of whom a change of it makes it ask again.
    """
    turns = turns or RolloutTurns(index.cache, clock, NO_BUDGET)

    return Controller(
        "workload-triggers",
        WorkloadTriggerReconciler(index, clock, gate, turns, kinds),
        index.cache,
        (
            *(Watch(kind) for kind in kinds),
            *index.image_watches(),
            *turns.watches(),
            *watches,
        ),
        workers=workers,
    )
