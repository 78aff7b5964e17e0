"""Image change triggers of workloads: sets the image that a tag stands for, and says why not."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

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
from upwell.controller import Controller, Result, Watch, of_both
from upwell.policy.images.streams import StreamName, resolve_tag
from upwell.policy.promotion.stages import setting_stage, stages_with
from upwell.policy.rollouts.triggers import (
    IMAGE_TRIGGERED,
    TriggerVerdict,
    decide,
    followers_of,
    hold_end,
    set_aside,
    with_images,
    without_hold,
)
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.interface import NotFoundError

type Triggered = Deployment | StatefulSet | DaemonSet | DeploymentConfig | CronJob

TRIGGERED: tuple[type[Triggered], ...] = (
    Deployment,
    StatefulSet,
    DaemonSet,
    DeploymentConfig,
    CronJob,
)

_KINDS = {kind.KIND.kind: kind for kind in TRIGGERED}


class WorkloadTriggerReconciler:
    """Writes into the template what the tags say, only when it differs; the rollout follows."""

    def __init__(self, index: WorkloadIndex, clock: Callable[[], datetime]) -> None:
        self._store = index.cache.store
        self._index = index
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Set the images of the workload that `key` names, and report the decision."""
        try:
            workload = await self._store.get(_KINDS[key.kind], key.namespace, key.name)
        except NotFoundError:
            return Result()
        if workload.is_deleting:
            return Result()
        end = hold_end(workload)
        if end is not None and end <= self._clock():
            workload = await self._store.update(without_hold(workload))
            end = None
        streams = await self._streams(workload)
        verdict = await self._verdict(workload, streams)
        if verdict is not None and verdict.images:
            workload = await self._store.update(with_images(workload, verdict.images))
        await self._report(workload, verdict, streams)
        return Result() if end is None else Result((end - self._clock()).total_seconds())

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

    async def _streams(self, workload: Triggered) -> dict[StreamName, ImageStream]:
        found: dict[StreamName, ImageStream] = {}
        for name in {entry.stream for entry in followers_of(workload).entries}:
            try:
                found[name] = await self._store.get(ImageStream, name.namespace, name.name)
            except NotFoundError:
                continue  # the verdict names it
        return found

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
    index: WorkloadIndex, clock: Callable[[], datetime], *, workers: int = 2
) -> Controller:
    """Return the controller of all workloads' image triggers."""

    def followers(stream: ImageStream) -> Iterable[ObjectKey]:
        return index.followers(StreamName(stream.namespace, stream.name))

    def staged(before: Pipeline | None, after: Pipeline | None) -> Iterable[ObjectKey]:
        if before is not None and after is not None and before.spec == after.spec:
            return ()
        return of_both(index.workloads_of)(before, after)

    return Controller(
        "workload-triggers",
        WorkloadTriggerReconciler(index, clock),
        index.cache,
        (
            *(Watch(kind) for kind in TRIGGERED),
            Watch(ImageStream, of_both(followers)),
            Watch(Pipeline, staged),
        ),
        workers=workers,
    )
