"""Brings the instances of a workload to what its template and the rollout policy want."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network

from upwell.api.apps import Job, RevisionRecord
from upwell.api.conditions import find as find_condition
from upwell.api.meta import ObjectKey
from upwell.controller import Result
from upwell.policy.rollout import (
    Drain,
    FailureReason,
    MarkComplete,
    Moment,
    Replica,
    RollBack,
    Rollout,
    RunHook,
    Settings,
    Stall,
    Start,
    Step,
    Stop,
    Target,
    Wait,
    next_steps,
)
from upwell.policy.rollout_history import (
    Cause,
    Phase,
    Records,
    begin,
    cause_of,
    find,
    is_requested,
    last_good,
    prune,
    wanted_revision,
    with_record,
)
from upwell.policy.rollout_hooks import HookPhase, RetryAt, hooks_of, last_end, pending
from upwell.policy.rollout_settings import (
    DEFAULT_GRACE,
    ROLL_OUT_ANNOTATION,
    WORKLOADS,
    Workload,
    follows_changes,
    grace_seconds,
    history_limit,
    is_manual,
    is_test,
    settings_of,
    template_of,
)
from upwell.policy.rollout_target import Choice, choose
from upwell.policy.rollout_triggers import HOLD_ANNOTATION, unresolved
from upwell.policy.template import TemplateError
from upwell.reconcilers.rollouts.custom import (
    CUSTOM,
    CustomStrategy,
    Extent,
    custom_instance,
    custom_params,
)
from upwell.reconcilers.rollouts.drift import foreign_names, under_control, with_mending
from upwell.reconcilers.rollouts.hooks import Hooks, hook_instance, retry_message, with_hook
from upwell.reconcilers.rollouts.images import Images
from upwell.reconcilers.rollouts.instance import build, index_of, key_of
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.reconcilers.rollouts.report import (
    PROGRESSING,
    Obstacle,
    Standing,
    failure_message,
    status_of,
)
from upwell.reconcilers.rollouts.traffic import Traffic
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store
from upwell.workload.interface import Instance, Router, Runtime, State, WorkloadError

FINALIZER = "upwell.dev/rollout"

DRAIN_TIMEOUT = timedelta(seconds=60)
_SESSIONS_PERIOD = 0.25
"""Seconds between two looks at the sessions of a draining instance: the router has no event."""
_REFUSED_PERIOD = 60.0
"""Seconds until what was refused for good is tried again, in case that the refusal was mended."""
_HOOK_PERIOD = 2.0
"""Seconds until a hook is looked at again, in case that nothing else tells of its end."""
_LOG_LINES = 10
_LOG_BYTES = 4096
_LOG_TIMEOUT = 5.0
_KINDS = {kind.KIND.kind: kind for kind in WORKLOADS}
_OWN_REASONS = frozenset(
    {"NewReplicaSetCreated", "NewReplicaSetAvailable", "ReplicaSetUpdated", "DeploymentPaused"}
)


type _Trouble = WorkloadError | TemplateError | RegistryError


@dataclass(frozen=True, slots=True)
class Machine:
    """Where workloads run, and what is known about their traffic."""

    runtime: Runtime
    router: Router
    traffic: Traffic
    services: IPv4Network | None = None
    """Where Services may have addresses that instances reach; None: only the machine does."""


class RolloutReconciler:
    """Deployments, DeploymentConfigs, StatefulSets and DaemonSets on one machine.

    One call decides once, acts, and asks to be called again when it did something.
    """

    def __init__(
        self,
        store: Store,
        machine: Machine,
        images: Images,
        clock: Callable[[], datetime],
        drain_timeout: timedelta = DRAIN_TIMEOUT,
    ) -> None:
        self._store = store
        self._runtime = machine.runtime
        self._router = machine.router
        self._traffic = machine.traffic
        self._images = images
        self._clock = clock
        self._drain_timeout = drain_timeout
        self._revisions = Revisions(store, images)
        self._hooks = Hooks(store, machine.runtime, self._revisions.load, clock)
        self._custom = CustomStrategy(machine.runtime, self._revisions.load, clock)
        self._tried: set[str] = set()
        """Instances whose start this process has tried: one of another process was cut short."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Do the next steps of the workload that `key` names; one that is gone leaves nothing."""
        if key.kind == Job.KIND.kind:
            return Result()  # its instances are another reconciler's
        workload = await self._find(key)
        instances = [one for one in await self._runtime.instances() if key_of(one.owner) == key]
        if workload is None:
            return await self._clear(key, instances, DEFAULT_GRACE)
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
            grace = grace_seconds(template_of(workload))
            return await self._clear(workload.key, instances, grace)
        self._traffic.drain(workload.key, frozenset())
        finalizers = tuple(one for one in workload.metadata.finalizers if one != FINALIZER)
        if finalizers != workload.metadata.finalizers:
            await self._store.update(workload.with_metadata(finalizers=finalizers))
        return Result()

    async def _clear(self, key: ObjectKey, instances: Sequence[Instance], grace: float) -> Result:
        """Drain and stop all: the owner goes, or is gone."""
        now = self._clock()
        nothing = Rollout(Settings(replicas=0), Target("", now, complete=True))
        steps = next_steps(nothing, await self._replicas(instances), now)
        self._set_draining(key, steps)
        for trouble in await self._stop(steps, grace):
            raise trouble
        return self._result(steps)

    async def _roll_out(self, workload: Workload, instances: Sequence[Instance]) -> Result:
        tasks = [one for one in instances if one.role]
        instances = [one for one in instances if not one.role]
        standing = await self._stand(workload, instances)
        record = standing.chosen.record
        steps: tuple[Step, ...] = ()
        troubles: Sequence[_Trouble] = ()
        if standing.chosen.choice is Choice.BEGIN:
            await self._write(workload, standing)
            return Result(0)
        if record is not None:
            rollout = _rollout(workload, standing, record)
            rollout, standing, record = await self._customise(
                workload, (rollout, standing, record), tasks
            )
            replicas = await self._replicas(under_control(workload, instances))
            steps = with_mending(
                next_steps(rollout, replicas, self._clock()), replicas, foreign_names(instances)
            )
            self._set_draining(workload.key, steps)
            troubles = await self._carry_out(workload, standing, steps)
            standing = await self._judge(workload, standing, steps, troubles)
            standing, found = await self._run_hook(workload, standing, steps, tasks)
            troubles = [*troubles, *found]
        await self._write(workload, standing)
        if standing.obstacle is not None and standing.obstacle.error is not None:
            troubles = (*troubles, standing.obstacle.error)
        for trouble in troubles:
            if getattr(trouble, "retryable", False):
                raise trouble
        watched = record is not None and _is_custom(workload, record)
        return Result(_REFUSED_PERIOD) if troubles else self._result(steps, watched=watched)

    async def _customise(
        self,
        workload: Workload,
        decided: tuple[Rollout, Standing, RevisionRecord],
        tasks: Sequence[Instance],
    ) -> tuple[Rollout, Standing, RevisionRecord]:
        """Let the command of a Custom strategy say how far the rollout may go."""
        rollout, standing, record = decided
        target, settings = rollout.target, rollout.settings
        if (
            custom_params(workload) is None
            or target.complete
            or target.aborted
            or Moment.PRE in target.hooks
            or CUSTOM in record.hooks
        ):
            return decided
        now = self._clock()
        count = sum(
            one.ready
            and one.revision == record.hash
            and one.ready_since is not None
            and one.ready_since + settings.min_ready <= now
            for one in standing.instances
        )
        result = await self._custom.step(workload, record, tasks, Extent(count, settings.replicas))
        if isinstance(result, float):
            driven = replace(target, share=result, driven=True)
            return replace(rollout, target=driven), standing, record
        record = record.model_copy(update={"hooks": {**record.hooks, CUSTOM: result}})
        standing = replace(
            standing, records=with_record(standing.records, record.hash, hooks=record.hooks)
        )
        if result.phase == HookPhase.FAILED:
            detail = f"the custom command: {result.message}"
            standing = _failed(standing, record, "HookFailed", detail, final=True)
            rollout = replace(rollout, target=replace(target, share=0, driven=True))
        return rollout, standing, record

    async def _run_hook(
        self,
        workload: Workload,
        standing: Standing,
        steps: Sequence[Step],
        tasks: Sequence[Instance],
    ) -> tuple[Standing, list[_Trouble]]:
        """Take the hook whose time has come one step further, and remove those that are over."""
        record = standing.chosen.record
        step = next((step for step in steps if isinstance(step, RunHook)), None)
        if record is None or step is None:
            kept = (
                set()
                if record is None or not _is_custom(workload, record)
                else {custom_instance(workload, record)}
            )
            await self._hooks.clear(tasks, kept)
            return standing, []
        await self._hooks.clear(tasks, {hook_instance(workload, record, step.moment)})
        try:
            result = await self._hooks.run(workload, record, step.moment, tasks)
        except (WorkloadError, TemplateError) as error:
            return replace(standing, obstacle=Obstacle(error.reason, str(error), "True")), [error]
        if result is None:
            why = f"the {step.moment} hook runs"
            return replace(standing, obstacle=Obstacle("HookRunning", why, "True")), []
        if isinstance(result, RetryAt):
            detail = next((f": {one.message}" for one in tasks if one.message), "")
            why = f"{retry_message(step.moment, result)}{detail}"
            return replace(standing, obstacle=Obstacle("HookRetrying", why, "True")), []
        changed = with_hook(record, step.moment, result)
        records = with_record(standing.records, record.hash, hooks=changed.hooks)
        standing = replace(standing, records=records)
        if result.phase != HookPhase.FAILED:
            return standing, []
        detail = f"the {step.moment} hook: {result.message}"
        return _failed(standing, changed, "HookFailed", detail, final=True), []

    async def _stand(self, workload: Workload, instances: Sequence[Instance]) -> Standing:
        """Read what is, and choose what shall be; a new revision is already in the records."""
        wanted = wanted_revision(workload)
        records = workload.status.revisions
        failed = workload.status.failed_hash
        if failed != wanted:
            failed = None  # the template has changed: it may be tried again some day
        settings, obstacle = self._settings(workload, wanted)
        chosen = choose(records, wanted, failed, may_begin=obstacle is None)
        if chosen.choice is Choice.BEGIN:
            try:
                new = await self._new_revision(workload, wanted)
            except (TemplateError, RegistryError) as error:
                again = error if isinstance(error, RegistryError) else None
                obstacle = Obstacle(error.reason, str(error), error=again)
                chosen = choose(records, wanted, failed, may_begin=False)
            else:
                records = prune(begin(records, new), history_limit(workload))
        elif chosen.choice is not Choice.KEPT:
            obstacle = None
        return Standing(settings, wanted, chosen, records, failed, instances, obstacle)

    def _settings(self, workload: Workload, wanted: str) -> tuple[Settings, Obstacle | None]:
        """Return how to roll out, and what speaks against beginning anything new."""
        try:
            settings = settings_of(workload)
        except TemplateError as error:
            replicas = getattr(workload.spec, "replicas", None)
            fallback = Settings(replicas=1 if replicas is None else replicas)
            return fallback, Obstacle(error.reason, str(error))
        if settings.paused:
            why = "spec.paused is set: the template is not rolled out until it is false"
            return settings, Obstacle("DeploymentPaused", why, "Unknown")
        # What has run before was resolved then, and its record has the digests.
        known = find(workload.status.revisions, wanted)
        waiting = unresolved(workload) if known is None else None
        if waiting is not None:
            return settings, Obstacle("ImageNotResolved", waiting)
        try:
            hooks_of(workload)
        except TemplateError as error:
            return settings, Obstacle(error.reason, str(error))
        return settings, _not_triggered(workload, wanted)

    async def _new_revision(self, workload: Workload, wanted: str) -> RevisionRecord:
        """Return the revision to begin; raises TemplateError or RegistryError if it cannot run."""
        template = template_of(workload)
        records = workload.status.revisions
        known = find(records, wanted)
        images = known.images if known else await self._images.pin(template, workload.namespace)
        undone = HOLD_ANNOTATION in workload.annotations and known is not None
        cause = cause_of(
            records, template, undone=undone, images_only=not follows_changes(workload)
        )
        by_hand = is_manual(workload) or is_requested(workload, wanted)
        record = RevisionRecord(
            revision=0,
            hash=wanted,
            template=template,
            created=self._clock(),
            cause=(Cause.MANUAL_CHANGE if by_hand and not undone else cause).value,
            images=images,
        )
        build(await self._revisions.load(workload, record), 0)
        return record

    async def _replicas(self, instances: Iterable[Instance]) -> list[Replica]:
        return [
            Replica(
                name=one.name,
                index=index_of(one.name),
                revision="" if one.foreign else one.revision,
                started_at=one.started_at,
                ready_since=(one.ready_since or one.started_at) if one.ready else None,
                ended=one.state not in {State.RUNNING, State.INITIALIZING},
                interrupted=one.state is State.CREATED and one.name not in self._tried,
                restarts=one.restarts,
                message=one.message,
                drained=await self._is_drained(one.name),
            )
            for one in instances
        ]

    async def _is_drained(self, name: str) -> bool:
        since = self._traffic.quiet_since(name)
        if since is None:
            return False
        if self._clock() - since >= self._drain_timeout:
            return True
        try:
            open_sessions = [
                (await self._router.sessions(backend)).get(name, 0)
                for backend in self._traffic.backends(name)
            ]
        except WorkloadError:
            return False  # it is asked again, until the time is over
        return not any(open_sessions)

    def _set_draining(self, key: ObjectKey, steps: Iterable[Step]) -> None:
        leaving = frozenset(step.name for step in steps if isinstance(step, Drain | Stop))
        self._traffic.drain(key, leaving)

    async def _carry_out(
        self, workload: Workload, standing: Standing, steps: Sequence[Step]
    ) -> list[_Trouble]:
        """Start and stop; return what went wrong, the target's own first."""
        grace = grace_seconds(template_of(workload))
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._stop(steps, grace))
            starting = group.create_task(self._start(workload, standing, steps))
        return [*starting.result(), *stopping.result()]

    async def _start(
        self, workload: Workload, standing: Standing, steps: Sequence[Step]
    ) -> list[_Trouble]:
        troubles: list[_Trouble] = []
        for step in steps:
            record = find(standing.records, step.revision) if isinstance(step, Start) else None
            if not isinstance(step, Start) or record is None:
                continue
            try:
                revision = await self._revisions.load(workload, record)
                spec = build(revision, step.index)
                self._tried.add(spec.name)
                await self._runtime.start(spec)
            except (WorkloadError, TemplateError) as error:
                troubles.append(error)
        return troubles

    async def _stop(self, steps: Sequence[Step], grace: float) -> list[WorkloadError]:
        troubles: list[WorkloadError] = []

        async def stop(name: str) -> None:
            try:
                await self._runtime.stop(name, grace)
                self._tried.discard(name)
            except WorkloadError as error:
                troubles.append(error)

        async with asyncio.TaskGroup() as group:
            for step in steps:
                if isinstance(step, Stop):
                    group.create_task(stop(step.name))
        return troubles

    async def _judge(
        self,
        workload: Workload,
        standing: Standing,
        steps: Sequence[Step],
        troubles: Sequence[_Trouble],
    ) -> Standing:
        """Return the standing with what the steps and their troubles say about the revision."""
        record = standing.chosen.record
        if record is None:
            return standing
        standing = replace(standing, records=self._with_live_time(workload, standing, record))
        refused = [
            error for error in troubles if isinstance(error, WorkloadError) and not error.retryable
        ]
        for step in steps:
            match step:
                case MarkComplete():
                    return _completed(standing, record)
                case RollBack() | Stall():
                    detail = await self._detail(workload, step.replica)
                    final = step.reason is FailureReason.TOO_LONG
                    return _failed(standing, record, step.reason, detail, final=final)
                case _:
                    pass
        if refused and record.phase != Phase.COMPLETE:
            return _failed(standing, record, refused[0].reason, str(refused[0]))
        if troubles and standing.obstacle is None:
            trouble = troubles[0]
            return replace(standing, obstacle=Obstacle(trouble.reason, str(trouble), "True"))
        return standing

    def _with_live_time(
        self, workload: Workload, standing: Standing, record: RevisionRecord
    ) -> Records:
        live = record.live_at is None and any(
            one.ready
            and one.revision == record.hash
            and self._traffic.is_live(workload.key, one.name)
            for one in standing.instances
        )
        if not live:
            return standing.records
        return with_record(standing.records, record.hash, live_at=self._clock())

    async def _detail(self, workload: Workload, replica: Replica | None) -> str:
        """Return why a replica does not serve, as far as anybody knows."""
        told = find_condition(workload.status.conditions, PROGRESSING)
        trouble = told.message if told and told.reason not in _OWN_REASONS else ""
        if replica is None:
            return trouble
        if replica.ended and replica.message:
            return replica.message  # it ends with the last lines already
        parts = (trouble, replica.message, await self._last_lines(replica.name))
        return "\n".join(part for part in parts if part)

    async def _last_lines(self, name: str) -> str:
        lines = b""
        try:
            async with asyncio.timeout(_LOG_TIMEOUT):
                async for chunk in self._runtime.logs(name, tail=_LOG_LINES):
                    lines = (lines + chunk)[-_LOG_BYTES:]
        except (WorkloadError, TimeoutError):
            return ""  # the log only adds to the reason
        return lines.decode(errors="replace").strip()

    async def _write(self, workload: Workload, standing: Standing) -> None:
        status = status_of(workload, standing, self._clock())
        if status != workload.status:
            await self._store.update_status(workload.with_status(status))

    def _result(self, steps: Sequence[Step], *, watched: bool = False) -> Result:
        if any(isinstance(step, Start | Stop | MarkComplete | RollBack) for step in steps):
            return Result(0)
        waits = [
            (step.until - self._clock()).total_seconds() for step in steps if isinstance(step, Wait)
        ]
        draining = [step.name for step in steps if isinstance(step, Drain)]
        if any(self._traffic.quiet_since(name) is not None for name in draining):
            waits.append(_SESSIONS_PERIOD)
        if watched or any(isinstance(step, RunHook) for step in steps):
            waits.append(_HOOK_PERIOD)
        return Result(max(min(waits), 0)) if waits else Result()


def _is_custom(workload: Workload, record: RevisionRecord) -> bool:
    """Whether a command drives the rollout of this revision now."""
    under_way = record.phase == Phase.PROGRESSING and CUSTOM not in record.hooks
    return under_way and custom_params(workload) is not None


def _not_triggered(workload: Workload, wanted: str) -> Obstacle | None:
    """Say why a new template is not rolled out by itself, if it is not."""
    asked = workload.annotations.get(ROLL_OUT_ANNOTATION) == wanted
    if asked or is_requested(workload, wanted) or follows_changes(workload):
        return None
    how = f"annotation {ROLL_OUT_ANNOTATION}={wanted}"
    if is_manual(workload):
        why = f"spec.triggers is empty: a rollout is started by `rollout latest`, or by {how}"
        return Obstacle("ManualOnly", why, "Unknown")
    records = workload.status.revisions
    before = {one.image for one in records[0].template.spec.containers} if records else set()
    if {one.image for one in template_of(workload).spec.containers} - before:
        return None  # an image change: that is what the other trigger is for
    why = f"there is no ConfigChange trigger: `rollout latest` starts a rollout, or {how}"
    return Obstacle("ManualOnly", why, "Unknown")


def _rollout(workload: Workload, standing: Standing, record: RevisionRecord) -> Rollout:
    complete = record.phase == Phase.COMPLETE
    good = record if complete else last_good(standing.records)
    settings = standing.settings
    if complete and is_test(workload):
        settings = replace(settings, replicas=0)
    return Rollout(
        settings,
        Target(
            record.hash,
            record.created,
            complete,
            hooks=frozenset() if complete else pending(workload, record),
            hooks_ended=last_end(record),
            aborted=bool(record.aborted) and good is None,
        ),
        good.hash if good else None,
    )


def _completed(standing: Standing, record: RevisionRecord) -> Standing:
    records = with_record(standing.records, record.hash, phase=Phase.COMPLETE.value, message="")
    return replace(standing, records=records)


def _failed(
    standing: Standing, record: RevisionRecord, reason: str, detail: str, *, final: bool = False
) -> Standing:
    """Return the standing with the target failed.

    Without a good revision it is tried on, unless the failure is `final`.
    """
    good = last_good(standing.records, besides=record.hash)
    if record.phase == Phase.FAILED and good is None and not final:
        return standing  # said already: an equal reconcile writes nothing
    settings = standing.settings
    limit = settings.active_deadline if reason == FailureReason.TOO_LONG else None
    deadline = (limit or settings.deadline).total_seconds()
    message = failure_message(record, reason, detail, (good, final), deadline)
    changes: dict[str, object] = {"phase": Phase.FAILED.value, "message": message}
    if final:
        changes["aborted"] = True
    return replace(
        standing,
        records=with_record(standing.records, record.hash, **changes),
        failed_hash=record.hash if good is not None else standing.failed_hash,
    )
