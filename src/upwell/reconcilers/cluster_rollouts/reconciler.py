"""Images of a cluster's workloads: set when a tag moves, put back when the rollout fails.

A change costs one write, one more if it is put back or (DaemonSet) to remember that it is complete.
Nothing is read from the cluster for a decision: the cache and the informer of Pods have it, and the
write is refused if the workload has changed since.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.cluster.errors import ClusterError, WorkloadChangedError
from upwell.cluster.interface import ImageWrite
from upwell.controller import Controller, Result, Watch
from upwell.controller.refusals import Refusals
from upwell.policy.cluster_rollouts.decision import (
    RolloutStep,
    completed,
    put_back,
    restored,
    set_images,
)
from upwell.policy.cluster_rollouts.last_write import last_write, owed_write
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import (
    NATIVE_WORKLOADS,
    NativeWorkload,
    RolloutObservation,
    observe,
)
from upwell.policy.cluster_rollouts.stuck_pods import StuckPod, stuck_pods
from upwell.policy.images.streams import StreamName
from upwell.policy.promotion.stages import PipelineStage, setting_stage
from upwell.policy.rollouts.image_ownership import declared_images, is_pinned
from upwell.policy.rollouts.triggers import (
    KEPT_BACK,
    Reason,
    TriggerVerdict,
    decide,
    followers_of,
    hold_end,
    kept_back,
    set_aside,
    without_hold,
)
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS
from upwell.reconcilers.cluster_rollouts.events import WorkloadEvents
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.rollouts.gate import (
    ImageUpdate,
    OpenGate,
    RolloutGate,
    RolloutPermits,
)
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.turns import RolloutTurns

POD_DELETED = "StuckPodDeleted"
_FIRST_ASKED_SECONDS = 2.0
"""Until an image that a policy keeps out is asked about again; a signature may just be pushed."""
_KEPT_OUT = frozenset({Reason.IMAGE_REFUSED, Reason.IMAGE_NOT_JUDGED})

type Waiting = Callable[[], Iterable[ObjectKey]]
"""Returns who waits for a gate."""

_KINDS = {kind.KIND.kind: kind for kind in NATIVE_WORKLOADS}


class ClusterRolloutReconciler:
    """Decides about one workload by its cached state, and writes what the decision says."""

    def __init__(
        self,
        index: WorkloadIndex,
        records: RolloutRecords,
        clock: Callable[[], datetime],
        gate: RolloutGate | None = None,
        turns: RolloutTurns | None = None,
    ) -> None:
        cluster = records.cluster
        self._index = index
        self._cache = index.cache
        self._cluster = cluster.workloads
        self._pods_near = cluster.pods_near
        self._clock = clock
        turns = turns or RolloutTurns(index.cache, clock, NO_BUDGET)
        self._permits = RolloutPermits(gate or OpenGate(), turns)
        self._authority = cluster.authority
        self._policies = cluster.policies
        self.kept_back = records.kept_back
        """Workloads whose images wait, and for what."""
        self._events = WorkloadEvents(cluster.workloads, cluster.shown_writes)
        self._refusals = Refusals()
        self._kept_out = Refusals(_FIRST_ASKED_SECONDS)
        """Of image policies."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the images of the workload that `key` names to what its triggers say."""
        kind, pods = _KINDS.get(key.kind), self._pods_near(key)
        if kind is None or pods is None:
            return Result()
        workload = self._cache.get(kind, key.namespace, key.name)
        if workload is None or workload.is_deleting:
            self._events.forget(key)
            self._refusals.forget(key)
            self._kept_out.forget(key)
            self._waits_no_more(key)
            return Result()
        note = RolloutNote.of(workload)
        if not note.images and not followers_of(workload).entries:
            self._waits_no_more(key)
            return Result()
        now = self._clock()
        owed = await self._events.show_owed(workload, owed_write(note, now), now)
        end = hold_end(workload)
        considered = without_hold(workload) if end is not None and end <= now else workload
        observed = observe(considered, pods.of(key), note, now)
        step, wait = await self._due(considered, note, observed, now)
        refused = await self._carry_out(workload, step) if step is not None else None
        if step is None or step.note is None:
            refused = (
                await self._free(workload, stuck_pods(workload, note, pods.of(key))) or refused
            )
        times = [one for one in (end, observed.look_again) if one is not None and one > now]
        waits = [(one - now).total_seconds() for one in times]
        waits += [one for one in (wait, refused, owed) if one is not None]
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
        waits: TriggerVerdict | None = None
        setting = setting_stage(self._index.stages_of(workload))
        if step is None and setting is not None:
            verdict = _staged(workload, note, setting)
            step = set_images(workload, note, observed, verdict, now, staged=True)
        elif step is None and (asked := await self._wanted(workload, note)) is not None:
            told, wait = await self._permitted(workload, asked)
            step = set_images(workload, note, observed, told, now)
            if step.note is not None and told.images and self._updates(workload, told):
                told, turn = self._permits.take_turn(workload, told)
                if not told.images:  # a place changes: no Event, Waves tell of it
                    step, wait = RolloutStep(), turn
            waits = told if told.reason in KEPT_BACK else None
        if step is None or step.note is None:
            step = completed(workload, note, observed) or step
        self._remember(workload.key, waits)
        return step, wait

    async def _wanted(self, workload: NativeWorkload, note: RolloutNote) -> TriggerVerdict | None:
        """Return what the triggers say, and its author and policies allow; None: there are none."""
        verdict = decide(workload, self._streams(workload))
        if verdict is None or not verdict.images:
            return verdict
        why = await self._authority.refusal(workload)
        if why:
            return kept_back(workload, verdict, verdict.images, (Reason.MISSING_RIGHT, why))
        # What has run before may be the way out: it is not asked about.
        new = {slot: one for slot, one in verdict.images.items() if note.good.get(slot[0]) != one}
        bar = await self._policies.bar(workload.namespace, new)
        if bar is None:
            return verdict
        return kept_back(workload, verdict, bar.slots, (bar.reason, bar.message))

    async def _permitted(
        self, workload: NativeWorkload, verdict: TriggerVerdict
    ) -> tuple[TriggerVerdict, float | None]:
        """Return the verdict less what a gate keeps back, and when to ask again."""
        if verdict.reason is Reason.MISSING_RIGHT:
            return verdict, ASK_AGAIN_SECONDS
        again = self._kept_out.note(workload.key) if verdict.reason in _KEPT_OUT else None
        if again is None:
            self._kept_out.forget(workload.key)
        if not verdict.images:
            return verdict, again
        updates = self._updates(workload, verdict)
        told, wait = await self._permits.pass_gate(
            workload, verdict, updates, self._streams(workload)
        )
        return told, min((one for one in (again, wait) if one is not None), default=None)

    @staticmethod
    def _updates(workload: NativeWorkload, verdict: TriggerVerdict) -> Sequence[ImageUpdate]:
        """Return which images take the place of others that were set by digest."""
        declared = declared_images(workload, verdict.images)
        return [
            ImageUpdate(slot, declared[slot], image)
            for slot, image in verdict.images.items()
            if is_pinned(declared[slot])
        ]

    def _remember(self, key: ObjectKey, waits: TriggerVerdict | None) -> None:
        """Keep what a workload waits for; one that waits for no turn leaves those that do."""
        if waits is None:
            self.kept_back.pop(key, None)
        else:
            self.kept_back[key] = waits
        if waits is None or waits.reason is not Reason.WAITS_FOR_TURN:
            self._permits.leave(key)

    def _waits_no_more(self, key: ObjectKey) -> None:
        self._remember(key, None)

    def _streams(self, workload: NativeWorkload) -> Mapping[StreamName, ImageStream]:
        names = {entry.stream for entry in followers_of(workload).entries}
        found = {name: self._cache.get(ImageStream, name.namespace, name.name) for name in names}
        return {name: stream for name, stream in found.items() if stream is not None}

    async def _carry_out(self, workload: NativeWorkload, step: RolloutStep) -> float | None:
        """Write and tell; return in how many seconds what was refused is tried again."""
        try:
            return await self._write(workload, step)
        finally:
            self._permits.began(workload.key)

    async def _write(self, workload: NativeWorkload, step: RolloutStep) -> float | None:
        try:
            if step.note is not None:
                await self._events.show_replaced(workload, self._clock())
                write = ImageWrite(workload, step.images, step.annotations, step.take_over)
                written = await self._cluster.set_images(write)
                self._refusals.forget(workload.key)
                await self._events.show_write(workload, last_write(step.note))
                await self._cache.wait_for(written)
                return None
            await self._show(workload, step)
        except WorkloadChangedError:
            return None  # the cache gets the change, which asks for work again
        except ClusterError as error:
            if error.retryable:
                raise
            await self._events.show_refusal(workload, error, step.message)
            return self._refusals.note(workload.key)
        return None

    async def _free(self, workload: NativeWorkload, stuck: Iterable[StuckPod]) -> float | None:
        """Delete Pods that hold a rollout up; return in how many seconds it is tried again."""
        for one in stuck:
            pod = ObjectKey(Pod.KIND.kind, one.pod.namespace, one.pod.name)
            try:
                await self._cluster.delete_pod(pod, one.container.image)
            except ClusterError as error:
                if error.retryable:
                    raise
                await self._events.show_refusal(workload, error, f"pending: {one}")
                return self._refusals.note(workload.key)
            await self._events.show(workload, POD_DELETED, str(one), warns=True)
        return None

    async def _show(self, workload: NativeWorkload, step: RolloutStep) -> None:
        await self._events.show(workload, step.reason, step.message, warns=step.is_warning)


def _staged(workload: NativeWorkload, note: RolloutNote, setting: PipelineStage) -> TriggerVerdict:
    """Return what a stage says: its images again, where the manifest was applied since."""
    pipeline, stage = setting
    verdict = set_aside(workload, f"stage {stage.name} of {pipeline.key}")
    return replace(verdict, images=restored(workload, note))


def cluster_rollout_controller(
    index: WorkloadIndex,
    records: RolloutRecords,
    clock: Callable[[], datetime],
    gate: RolloutGate | None = None,
    *,
    kinds: Sequence[type[NativeWorkload]] = NATIVE_WORKLOADS,
    watches: Callable[[Waiting], Sequence[Watch[Any]]] = lambda _: (),
    turns: RolloutTurns | None = None,
) -> Controller:
    """Return the controller of native workloads: image triggers, judgement and put back.

    `gate` may keep images back; `watches` are those of its changes, on which whoever waits for it
    asks again. At most as many rollouts as `budget` allows are under way at once. The Pods have to
    be followed beside it (`PodIndex.run`).
    """
    turns = turns or RolloutTurns(index.cache, clock, NO_BUDGET)
    reconciler = ClusterRolloutReconciler(index, records, clock, gate, turns)

    return Controller(
        "cluster-rollouts",
        reconciler,
        index.cache,
        (
            *(Watch(kind) for kind in kinds),
            *index.image_watches(),
            *turns.watches(),
            *watches(lambda: tuple(reconciler.kept_back)),
        ),
        feeds=[pods.changed.keys for pods in records.cluster.pods.values()],
        workers=8,
    )
