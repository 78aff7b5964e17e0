"""Brings the instances of a workload to what its template and the rollout policy want."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from upwell.api.apps import Job
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.controller import Result
from upwell.policy.rollouts.degradation import degradation
from upwell.policy.rollouts.drift import foreign_names, under_control, with_mending
from upwell.policy.rollouts.instance import key_of, owner_of
from upwell.policy.rollouts.judgement import pulling_first
from upwell.policy.rollouts.lost_objects import remains
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.report import late_at, status_of
from upwell.policy.rollouts.rollout import Rollout, RolloutTarget, Settings
from upwell.policy.rollouts.settings import (
    DEFAULT_GRACE,
    WORKLOADS,
    Workload,
    drain_limit,
    grace_seconds,
    template_of,
)
from upwell.policy.rollouts.snapshot import RolloutSnapshot, rollout_for
from upwell.policy.rollouts.starts.dependencies import Dependency, waiting_for
from upwell.policy.rollouts.starts.takeover import allowed_since, held, is_held
from upwell.policy.rollouts.steps import (
    Drain,
    MarkComplete,
    RollBack,
    RunHook,
    StartReplica,
    Step,
    Stop,
    Wait,
    makes_room,
    next_steps,
)
from upwell.policy.rollouts.target import TargetReason
from upwell.reconcilers.rollouts.commands import Commands, Decided, is_driven
from upwell.reconcilers.rollouts.execution import StepExecutor, Trouble
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.rollouts.judgement import Judge
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.replicas import ReplicaReader
from upwell.reconcilers.rollouts.snapshot import MachineRevisions, SnapshotReader
from upwell.reconcilers.rollouts.starts.dependencies import Dependencies
from upwell.store.interface import NotFoundError, Store
from upwell.workload.interface import Instance

FINALIZER = "upwell.dev/rollout"

_SESSIONS_PERIOD = 0.25
"""Seconds between two looks at the sessions of a draining instance: the router has no event."""
_REFUSED_PERIOD = 60.0
"""Seconds until what was refused for good is tried again, in case that the refusal was mended."""
_HOOK_PERIOD = 2.0
"""Seconds until a hook is looked at again, in case that nothing else tells of its end."""
_STOPPING_PERIOD = 2.0
"""Seconds until a workload is looked at again of which an instance is stopping."""
_DEPENDENCY_PERIOD = timedelta(seconds=1)
"""Time between two looks at the workloads that another one waits for."""
_OTHERS = {Job.KIND.kind, Pod.KIND.kind}
"""Kinds whose instances another reconciler starts."""
_KINDS = {kind.KIND.kind: kind for kind in WORKLOADS}


@dataclass(frozen=True, slots=True)
class _Patience:
    """Time that an instance which ends may take: for its requests, and then to stop."""

    drain: timedelta = timedelta(seconds=DEFAULT_GRACE)
    grace: float = DEFAULT_GRACE
    """Seconds."""


@dataclass(frozen=True, slots=True)
class _Due:
    """Steps that are due, and what keeps the images of a new replica away."""

    steps: tuple[Step, ...]
    troubles: Sequence[Trouble] = ()
    pulls_first: str = ""
    """Message of the pull that comes before anything is stopped."""
    missing: tuple[Dependency, ...] = ()
    """Other workloads that the first instance waits for."""
    held: bool = False
    """True: a takeover holds the first instance back, whose images are there."""


class RolloutReconciler:
    """Deployments, DeploymentConfigs, StatefulSets and DaemonSets on one machine.

    One call decides once, acts, and asks to be called again when it did something.
    """

    def __init__(
        self,
        store: Store,
        machine: RolloutPorts,
        images: TemplateImages,
        clock: Callable[[], datetime],
    ) -> None:
        revisions = Revisions(store, images, machine.api_authority)
        self._store = store
        self._runtime = machine.runtime
        self._timeline = machine.timeline
        self._traffic = machine.traffic
        self._clock = clock
        begun = MachineRevisions(images, revisions, clock, machine.pressure, machine.authority)
        self._snapshots = SnapshotReader(begun.begin, clock)
        self._replicas = ReplicaReader(machine, clock)
        self._commands = Commands(store, machine.runtime, revisions.load, clock, machine.authority)
        self._execution = StepExecutor(machine.runtime, revisions)
        self._judge = Judge(machine, clock)
        self._dependencies = Dependencies(store, machine.runtime, clock)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which everything is done; leaving it ends what is under way."""
        return self._execution.stops.lifespan()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Do the next steps of the workload that `key` names; a deleted one leaves nothing."""
        if key.kind in _OTHERS:
            return Result()  # its instances are another reconciler's
        workload = await self._find(key)
        stopping = self._execution.stops.names
        instances = [
            replace(one, ready=False) if one.name in stopping else one
            for one in await self._runtime.instances()
            if key_of(one.owner) == key
        ]
        if workload is None:
            return await self._clear(key, remains(instances, self._timeline), _Patience())
        if workload.is_deleting:
            return await self._end(workload, instances)
        if FINALIZER not in workload.metadata.finalizers:
            finalizers = (*workload.metadata.finalizers, FINALIZER)
            workload = await self._store.update(workload.with_metadata(finalizers=finalizers))
        return await self._roll_out(workload, instances)

    async def _find(self, key: ObjectKey) -> Workload | None:
        kind = _KINDS.get(key.kind)
        if kind is None:
            return None  # an instance of a kind that is no longer run: nobody owns it
        try:
            return await self._store.get(kind, key.namespace, key.name)
        except NotFoundError:
            return None

    async def _end(self, workload: Workload, instances: Sequence[Instance]) -> Result:
        if instances:
            return await self._clear(workload.key, instances, _patience(workload))
        self._traffic.drain(workload.key, frozenset())
        await self._runtime.release_volumes(owner_of(workload.key))
        finalizers = tuple(one for one in workload.metadata.finalizers if one != FINALIZER)
        if finalizers != workload.metadata.finalizers:
            await self._store.update(workload.with_metadata(finalizers=finalizers))
        return Result()

    async def _clear(
        self, key: ObjectKey, instances: Sequence[Instance], patience: _Patience
    ) -> Result:
        """Drain and stop all: the owner goes, or is gone."""
        now = self._clock()
        nothing = Rollout(Settings(replicas=0), RolloutTarget("", now, complete=True))
        replicas = await self._replicas.read(instances, self._execution, patience.drain)
        steps = next_steps(nothing, replicas, now)
        self._set_draining(key, steps, instances)
        for trouble in await self._execution.stop(steps, patience.grace):
            raise trouble
        return self._result(steps)

    async def _roll_out(self, workload: Workload, instances: Sequence[Instance]) -> Result:
        tasks = [one for one in instances if one.role]
        instances = [one for one in instances if not one.role]
        snapshot = await self._snapshots.read(workload, instances)
        record = snapshot.chosen.record
        steps: tuple[Step, ...] = ()
        troubles: Sequence[Trouble] = ()
        if snapshot.chosen.choice is TargetReason.BEGIN:
            await self._write(workload, snapshot)
            return Result(0)
        if record is not None:
            decided = await self._commands.customise(
                workload,
                Decided(rollout_for(workload, snapshot, record), snapshot, record),
                tasks,
            )
            snapshot, record = decided.snapshot, decided.record
            due = await self._steps(workload, decided, instances)
            steps = due.steps
            if due.missing:
                waits = waiting_for(record, due.missing)
                snapshot = replace(snapshot, obstacle=snapshot.obstacle or waits)
            if due.held:
                snapshot = replace(snapshot, obstacle=snapshot.obstacle or held(record))
            if due.pulls_first:
                pulls = pulling_first(record, due.pulls_first)
                snapshot = replace(snapshot, obstacle=snapshot.obstacle or pulls)
            self._set_draining(workload.key, steps, instances)
            troubles = [
                *decided.troubles,
                *due.troubles,
                *await self._execution.carry_out(workload, snapshot, steps),
            ]
            snapshot = await self._judge.judge(workload, snapshot, steps, troubles)
            snapshot, found = await self._commands.run_hook(workload, snapshot, steps, tasks)
            troubles = [*troubles, *found]
        await self._write(workload, snapshot)
        unresolved = snapshot.obstacle.error if snapshot.obstacle is not None else None
        failures = [*troubles, unresolved] if unresolved is not None else troubles
        for failure in failures:
            if getattr(failure, "retryable", False):
                raise failure
        now = self._clock()
        late = late_at(workload, snapshot, now)
        if late is not None and late <= now:
            late = None
        if failures:
            period = _REFUSED_PERIOD if late is None else (late - now).total_seconds()
            return Result(min(period, _REFUSED_PERIOD))
        watched = record is not None and is_driven(workload, record)
        again = min(
            (one for one in (degradation(workload, snapshot, now).look_again, late) if one),
            default=None,
        )
        return self._result(steps, watched=watched, again=again)

    async def _steps(
        self, workload: Workload, decided: Decided, instances: Sequence[Instance]
    ) -> _Due:
        now, target = self._clock(), decided.rollout.target
        since = allowed_since(workload, target.since, now)
        well = replace(target, well_since=self._runtime.well_since(), since=since)
        rollout = replace(decided.rollout, target=well)
        ours = under_control(workload, instances)
        drain = rollout.settings.drain
        replicas = await self._replicas.read(ours, self._execution, drain)
        steps = next_steps(rollout, replicas, now)
        start = next((step for step in steps if isinstance(step, StartReplica)), None)
        others = tuple(step for step in steps if not isinstance(step, StartReplica))
        if start is not None and is_held(workload) and all(one.ended for one in replicas):
            pulls, troubles = await self._execution.have_images(workload, decided.snapshot, start)
            return _Due(others, troubles, pulls_first=pulls, held=not (pulls or troubles))
        missing = await self._dependencies.missing(workload, decided.record, replicas, steps)
        if missing:
            again = Wait(now + _DEPENDENCY_PERIOD)
            return _Due((*others, again), missing=missing)
        index = makes_room(rollout, replicas, steps)
        if index is not None:
            start = StartReplica(rollout.target.revision, index)
            pulls, troubles = await self._execution.have_images(workload, decided.snapshot, start)
            if pulls or troubles:
                # What serves goes on until the images are there, or the rollout has failed.
                kept = tuple(step for step in steps if not isinstance(step, Drain | Stop))
                return _Due(kept, troubles, pulls_first=pulls)
        return _Due(with_mending(steps, replicas, foreign_names(instances)))

    def _set_draining(
        self, key: ObjectKey, steps: Iterable[Step], instances: Iterable[Instance]
    ) -> None:
        leaving = frozenset(step.name for step in steps if isinstance(step, Drain | Stop))
        leaving |= self._execution.stops.names & {one.name for one in instances}
        self._traffic.drain(key, leaving)

    async def _write(self, workload: Workload, snapshot: RolloutSnapshot) -> None:
        status = status_of(workload, snapshot, self._clock())
        if status != workload.status:
            await self._store.update_status(workload.with_status(status))

    def _result(
        self, steps: Sequence[Step], *, watched: bool = False, again: datetime | None = None
    ) -> Result:
        names = self._execution.stops.names
        stopping = [one for one in steps if isinstance(one, Stop) and one.name in names]
        acted = [one for one in steps if one not in stopping]
        if any(isinstance(step, StartReplica | Stop | MarkComplete | RollBack) for step in acted):
            return Result(0)
        waits = [
            (step.until - self._clock()).total_seconds() for step in steps if isinstance(step, Wait)
        ]
        if stopping:
            waits.append(_STOPPING_PERIOD)
        if again is not None:
            waits.append((again - self._clock()).total_seconds())
        draining = [step.name for step in steps if isinstance(step, Drain)]
        if any(self._traffic.quiet_since(name) is not None for name in draining):
            waits.append(_SESSIONS_PERIOD)
        if watched or any(isinstance(step, RunHook) for step in steps):
            waits.append(_HOOK_PERIOD)
        return Result(max(min(waits), 0)) if waits else Result()


def _patience(workload: Workload) -> _Patience:
    """Return the patience for a workload that goes, even if what it declares is at fault."""
    grace = grace_seconds(template_of(workload))
    try:
        return _Patience(drain_limit(workload), grace)
    except TemplateError:
        return _Patience(grace=grace)
