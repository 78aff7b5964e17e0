"""Images of a cluster's workloads: set when a tag moves, put back when the rollout fails.

A change costs one write, one more if it is put back or (DaemonSet) to remember that it is complete.
Nothing is read from the cluster for a decision: the cache and the informer of Pods have it, and the
write is refused if the workload has changed since.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.cluster.errors import ClusterError, WorkloadChangedError
from upwell.cluster.interface import ClusterWorkloads, ImageWrite, WorkloadEvent
from upwell.controller import Controller, Result, Watch
from upwell.policy.cluster_rollouts.decision import (
    RolloutStep,
    completed,
    put_back,
    restored,
    set_images,
)
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NATIVE_WORKLOADS,
    NativeWorkload,
    RolloutObservation,
    observe,
)
from upwell.policy.images.streams import StreamName
from upwell.policy.promotion.stages import PipelineStage, setting_stage
from upwell.policy.rollouts.image_ownership import declared_images, is_pinned
from upwell.policy.rollouts.triggers import (
    Reason,
    TriggerVerdict,
    decide,
    followers_of,
    hold_end,
    kept_back,
    set_aside,
    without_hold,
)
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, UNASKED, Authority
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.rollouts.gate import ImageUpdate, OpenGate, RolloutGate
from upwell.reconcilers.rollouts.index import WorkloadIndex

log = logging.getLogger(__name__)

type Waiting = Callable[[], Iterable[ObjectKey]]
"""Returns who waits for a gate."""

_KINDS = {kind.KIND.kind: kind for kind in NATIVE_WORKLOADS}
_REFUSED_PERIOD = 300.0
"""Seconds until what was refused for good is tried again: rights and webhooks change unseen."""


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """A cluster, as it is written to and as its Pods are seen."""

    workloads: ClusterWorkloads
    pods: Mapping[str, PodIndex]
    """By the namespaces whose workloads are kept current; those of all under the empty name."""
    authority: Authority = UNASKED
    """Judge of whether whoever stands for a workload may have the images that it follows."""

    def pods_near(self, workload: ObjectKey) -> PodIndex | None:
        """Return where the Pods of a workload are; None: it is not ours to keep current."""
        near = self.pods.get(workload.namespace)
        return self.pods.get("") if near is None else near

    def follows(self, namespace: str) -> bool:
        """Return True if the workloads of a namespace are kept current."""
        return namespace in self.pods or "" in self.pods


class ClusterRolloutReconciler:
    """Decides about one workload by its cached state, and writes what the decision says."""

    def __init__(
        self,
        index: WorkloadIndex,
        cluster: ClusterParts,
        clock: Callable[[], datetime],
        gate: RolloutGate | None = None,
    ) -> None:
        self._index = index
        self._cache = index.cache
        self._cluster = cluster.workloads
        self._pods_near = cluster.pods_near
        self._clock = clock
        self._gate = gate or OpenGate()
        self._authority = cluster.authority
        self.kept_back: set[ObjectKey] = set()
        """Workloads whose images the gate keeps back."""
        self._told: dict[ObjectKey, tuple[str, str]] = {}
        """Event that was told last; lost with the process, the cluster has it under its name."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the images of the workload that `key` names to what its triggers say."""
        self.kept_back.discard(key)
        kind, pods = _KINDS.get(key.kind), self._pods_near(key)
        if kind is None or pods is None:
            return Result()
        workload = self._cache.get(kind, key.namespace, key.name)
        if workload is None or workload.is_deleting:
            self._told.pop(key, None)
            return Result()
        note = RolloutNote.of(workload)
        if not note.images and not followers_of(workload).entries:
            return Result()
        now = self._clock()
        end = hold_end(workload)
        considered = without_hold(workload) if end is not None and end <= now else workload
        observed = observe(considered, pods.of(key), note, now)
        step, wait = await self._due(considered, note, observed, now)
        refused = await self._carry_out(workload, step) if step is not None else None
        times = [one for one in (end, observed.look_again) if one is not None and one > now]
        waits = [(one - now).total_seconds() for one in times]
        waits += [one for one in (wait, refused) if one is not None]
        return Result(min(waits, default=None))

    async def _due(
        self,
        workload: NativeWorkload,
        note: RolloutNote,
        observed: RolloutObservation,
        now: datetime,
    ) -> tuple[RolloutStep | None, float | None]:
        """Return what is due now, if anything, and when a gate is to be asked again."""
        step, wait = put_back(workload, note, observed, now), None
        setting = setting_stage(self._index.stages_of(workload))
        if step is None and setting is not None:
            verdict = _staged(workload, note, setting)
            step = set_images(workload, note, observed, verdict, now, staged=True)
        elif step is None:
            told, wait = await self._verdict(workload)
            step = None if told is None else set_images(workload, note, observed, told, now)
        if step is None or step.note is None:
            step = completed(workload, note, observed) or step
        return step, wait

    async def _verdict(
        self, workload: NativeWorkload
    ) -> tuple[TriggerVerdict | None, float | None]:
        """Return what the triggers say, less what a gate keeps back, and when to ask again."""
        streams = self._streams(workload)
        verdict = decide(workload, streams)
        if verdict is None or not verdict.images:
            return verdict, None
        if why := await self._authority.refusal(workload):
            missing = (Reason.MISSING_RIGHT, why)
            return kept_back(workload, verdict, verdict.images, missing), ASK_AGAIN_SECONDS
        declared = declared_images(workload, verdict.images)
        updates = [
            ImageUpdate(slot, declared[slot], image)
            for slot, image in verdict.images.items()
            if is_pinned(declared[slot])
        ]
        bar = await self._gate.bar(workload, updates, streams) if updates else None
        if bar is None:
            return verdict, None
        self.kept_back.add(workload.key)
        return kept_back(workload, verdict, bar.slots, (bar.reason, bar.message)), bar.look_again

    def _streams(self, workload: NativeWorkload) -> Mapping[StreamName, ImageStream]:
        names = {entry.stream for entry in followers_of(workload).entries}
        found = {name: self._cache.get(ImageStream, name.namespace, name.name) for name in names}
        return {name: stream for name, stream in found.items() if stream is not None}

    async def _carry_out(self, workload: NativeWorkload, step: RolloutStep) -> float | None:
        """Write and tell; return in how many seconds what was refused is tried again."""
        try:
            if step.note is not None:
                write = ImageWrite(workload, step.images, step.annotations, step.take_over)
                written = await self._cluster.set_images(write)
                await self._tell(workload, step.reason, step.message, warns=step.is_warning)
                await self._cache.wait_for(written)
                return None
            await self._tell(workload, step.reason, step.message, warns=step.is_warning)
        except WorkloadChangedError:
            return None  # the cache gets the change, which asks for work again
        except ClusterError as error:
            if error.retryable:
                raise
            log.warning(
                "workload not written",
                extra={"key": str(workload.key), "reason": error.reason, "why": str(error)},
            )
            await self._tell(workload, error.reason, f"{error}; {step.message}", warns=True)
            return _REFUSED_PERIOD
        return None

    async def _tell(
        self, workload: NativeWorkload, reason: str, message: str, *, warns: bool
    ) -> None:
        """Show an Event, unless it is the one that was shown last; one that is refused is lost."""
        if not reason:
            self._told.pop(workload.key, None)
        if not reason or self._told.get(workload.key) == (reason, message):
            return
        try:
            await self._cluster.tell(WorkloadEvent(workload, reason, message, warns))
        except ClusterError as error:
            log.warning("Event not written", extra={"key": str(workload.key), "why": str(error)})
            if error.retryable:
                return
        self._told[workload.key] = (reason, message)


def _staged(workload: NativeWorkload, note: RolloutNote, setting: PipelineStage) -> TriggerVerdict:
    """Return what a stage says: its images again, where the manifest was applied since."""
    pipeline, stage = setting
    verdict = set_aside(workload, f"stage {stage.name} of {pipeline.key}")
    return replace(verdict, images=restored(workload, note))


def cluster_rollout_controller(
    index: WorkloadIndex,
    cluster: ClusterParts,
    clock: Callable[[], datetime],
    gate: RolloutGate | None = None,
    *,
    kinds: Sequence[type[NativeWorkload]] = NATIVE_WORKLOADS,
    watches: Callable[[Waiting], Sequence[Watch[Any]]] = lambda _: (),
    workers: int = 8,
) -> Controller:
    """Return the controller of native workloads: image triggers, judgement and put back.

    `gate` may keep images back; `watches` are those of its changes, on which whoever waits for it
    asks again. It follows the Pods of the cluster while it runs.
    """
    reconciler = ClusterRolloutReconciler(index, cluster, clock, gate)

    return Controller(
        "cluster-rollouts",
        reconciler,
        index.cache,
        (
            *(Watch(kind) for kind in kinds),
            *index.image_watches(),
            *watches(lambda: tuple(reconciler.kept_back)),
        ),
        feeds=[pods.changes for pods in cluster.pods.values()],
        workers=workers,
    )
