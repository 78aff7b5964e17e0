"""Finds what was wrong beside a check while it ran: machine, runtime, router, or an instance."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import CheckPhase
from upwell.policy.promotion.stages import namespace_of
from upwell.policy.promotion.verification.checks import CheckAttempt, CheckStep
from upwell.policy.promotion.verification.disturbance import (
    AskedWorkloads,
    Disturbance,
    disturbed_instance,
)
from upwell.policy.rollouts.instance import owner_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.reconcilers.promotion.instances import StageInstances
from upwell.reconcilers.promotion.machine_watch import MachineRecord
from upwell.reconcilers.promotion.pipelines import StoredWorkloads, stage_workloads
from upwell.store.interface import Store


@dataclass(frozen=True, slots=True)
class CheckRun:
    """Run of a check, and the time since which it needed ready instances."""

    began: datetime
    needs_ready_since: datetime


class Disturbances:
    """Looks for what took the meaning from a check's end."""

    def __init__(self, store: Store, instances: StageInstances, machine: MachineRecord) -> None:
        self._store = store
        self._instances = instances
        self._machine = machine

    def now(self, now: datetime) -> str:
        """Return the fault of the machine that lasts, so that no check begins; empty: none."""
        return self._machine.fault_since(now)

    async def asked(self, pipeline: Pipeline, stage: Stage) -> AskedWorkloads:
        """Return the workloads that the checks of a stage ask."""
        revisions = {}
        for one in await stage_workloads(StoredWorkloads(self._store), pipeline, stage):
            if isinstance(one, WORKLOADS):
                newest = next(iter(one.status.revisions), None)
                revisions[owner_of(one.key)] = newest.hash if newest is not None else ""
        return AskedWorkloads(namespace_of(pipeline, stage), revisions)

    async def beside(
        self, asked: AskedWorkloads, ended: CheckStep, attempt: CheckAttempt, run: CheckRun
    ) -> Disturbance | None:
        """Return what was wrong beside an attempt that `ended`; None: nothing.

        Raises a WorkloadError.
        """
        if fault := self._machine.fault_since(run.began):
            return Disturbance(fault)
        patience = timedelta(seconds=attempt.check.timeout_seconds)
        passed = ended.result.phase is CheckPhase.PASSED
        return disturbed_instance(
            await self._instances.of_namespace(asked.namespace),
            asked,
            run.needs_ready_since,
            attempt.now,
            patience,
            passed=passed,
            excused=attempt.result.ended_instance_excused,
        )
