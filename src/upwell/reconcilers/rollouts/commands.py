"""The user's own commands in a rollout: lifecycle hooks, and the command of a Custom strategy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import Phase, with_record
from upwell.policy.rollouts.hooks import HookPhase, RetryAt
from upwell.policy.rollouts.instance import is_available
from upwell.policy.rollouts.judgement import failed
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import HookMoment, Rollout
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.snapshot import Obstacle, RolloutSnapshot
from upwell.policy.rollouts.steps import RunHook, Step
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.rollouts.custom import (
    CUSTOM,
    CustomStrategy,
    Extent,
    custom_instance,
    custom_params,
)
from upwell.reconcilers.rollouts.execution import Trouble
from upwell.reconcilers.rollouts.hooks import (
    Hooks,
    LoadRevision,
    hook_instance,
    retry_message,
    with_hook,
)
from upwell.store.interface import Store
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Instance, Runtime, State


@dataclass(frozen=True, slots=True)
class Decided:
    """A rollout that is about to take its next steps."""

    rollout: Rollout
    snapshot: RolloutSnapshot
    record: RevisionRecord
    troubles: Sequence[Trouble] = ()
    """Errors that kept the command of a Custom strategy from saying how far it may go."""


class Commands:
    """Runs them where their time has come, and lets their results decide."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        load: LoadRevision,
        clock: Callable[[], datetime],
        authority: Authority,
    ) -> None:
        self._hooks = Hooks(store, runtime, load, clock, authority)
        self._custom = CustomStrategy(runtime, load, clock, authority)
        self._clock = clock

    async def customise(
        self, workload: Workload, decided: Decided, tasks: Sequence[Instance]
    ) -> Decided:
        """Let the command of a Custom strategy say how far the rollout may go."""
        rollout, snapshot, record = decided.rollout, decided.snapshot, decided.record
        target, settings = rollout.target, rollout.settings
        if (
            custom_params(workload) is None
            or target.complete
            or target.aborted
            or HookMoment.PRE in target.hooks
            or CUSTOM in record.hooks
        ):
            return decided
        now = self._clock()
        count = sum(
            one.revision == record.hash and is_available(one, settings.min_ready, now)
            for one in snapshot.instances
        )
        extent = Extent(count, settings.replicas)
        held = replace(target, share=0, driven=True)
        try:
            result = await self._custom.step(workload, record, tasks, extent)
        except (WorkloadError, TemplateError) as error:
            return replace(decided, rollout=replace(rollout, target=held), troubles=(error,))
        if isinstance(result, float):
            driven = replace(held, share=result)
            return replace(decided, rollout=replace(rollout, target=driven))
        record = record.model_copy(update={"hooks": {**record.hooks, CUSTOM: result}})
        snapshot = replace(
            snapshot, records=with_record(snapshot.records, record.hash, hooks=record.hooks)
        )
        if result.phase == HookPhase.FAILED:
            detail = f"the custom command: {result.message}"
            snapshot = failed(snapshot, record, "HookFailed", detail, final=True)
            rollout = replace(rollout, target=held)
        return Decided(rollout, snapshot, record)

    async def run_hook(
        self,
        workload: Workload,
        snapshot: RolloutSnapshot,
        steps: Sequence[Step],
        tasks: Sequence[Instance],
    ) -> tuple[RolloutSnapshot, list[Trouble]]:
        """Take the hook whose time has come one step further, and remove those that are over."""
        record = snapshot.chosen.record
        step = next((step for step in steps if isinstance(step, RunHook)), None)
        if record is None or step is None:
            kept = (
                set()
                if record is None or not is_driven(workload, record)
                else {custom_instance(workload, record)}
            )
            await self._hooks.clear(tasks, kept)
            return snapshot, []
        await self._hooks.clear(tasks, {hook_instance(workload, record, step.moment)})
        try:
            result = await self._hooks.run(workload, record, step.moment, tasks)
        except (WorkloadError, TemplateError) as error:
            return replace(snapshot, obstacle=Obstacle(error.reason, str(error), "True")), [error]
        if result is None:
            why = f"the {step.moment} hook runs{_pull_of(tasks)}"
            return replace(snapshot, obstacle=Obstacle("HookRunning", why, "True")), []
        if isinstance(result, RetryAt):
            detail = next((f": {one.message}" for one in tasks if one.message), "")
            why = f"{retry_message(step.moment, result)}{detail}"
            return replace(snapshot, obstacle=Obstacle("HookRetrying", why, "True")), []
        changed = with_hook(record, step.moment, result)
        records = with_record(snapshot.records, record.hash, hooks=changed.hooks)
        snapshot = replace(snapshot, records=records)
        if result.phase != HookPhase.FAILED:
            return snapshot, []
        detail = f"the {step.moment} hook: {result.message}"
        return failed(snapshot, changed, "HookFailed", detail, final=True), []


def _pull_of(tasks: Sequence[Instance]) -> str:
    """Say which image a command waits for, if one does."""
    return next((f": {one.message}" for one in tasks if one.state is State.PULLING), "")


def is_driven(workload: Workload, record: RevisionRecord) -> bool:
    """Return True if a command drives the rollout of this revision now."""
    under_way = record.phase == Phase.PROGRESSING and CUSTOM not in record.hooks
    return under_way and custom_params(workload) is not None
