"""Verifies a Release in a stage: all checks at once, then the rest of the soak.

Each call looks at what is stored, does one step of each check, and returns what is to be stored. A
check is stored as running before anything is done for it, and its Job is deleted after its result
is stored, so that a call that is cut short is simply made again.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Check, Pipeline
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.machine.tasks import side_by_side
from upwell.policy.promotion.verification.checks import (
    CheckAttempt,
    CheckStep,
    CheckVerdict,
    VerificationOutcome,
    VerificationProgress,
    anchored,
    begun,
    concluded,
    pause,
    results_of,
    settled,
)
from upwell.policy.promotion.verification.disturbance import AskedWorkloads
from upwell.policy.promotion.verification.jobs import VerifiedRelease
from upwell.policy.promotion.verification.soak import Soak, soak_of
from upwell.reconcilers.promotion.addresses import Address, check_places, stage_address
from upwell.reconcilers.promotion.checks.jobs import JobChecks
from upwell.reconcilers.promotion.checks.probes import ProbeChecks
from upwell.reconcilers.promotion.checks.webhooks import Verdicts, WebhookChecks
from upwell.reconcilers.promotion.disturbances import CheckRun, Disturbances
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.reconcilers.promotion.machine_watch import MachineRecord, faultless
from upwell.store.interface import NotFoundError, Store, StoreError
from upwell.uploads.interface import BinaryInputs
from upwell.verification.interface import Probes
from upwell.workload.errors import WorkloadError

_TROUBLE_SECONDS = 10.0
"""Until a check that could not be looked at is looked at again."""


@dataclass(frozen=True, slots=True)
class _CheckContext:
    """State from which a check's next step follows, beside the check itself."""

    subject: VerifiedRelease
    address: Address
    asked: AskedWorkloads
    soak: Soak
    now: datetime


class StageVerification:
    """Takes the verification of a Promotion further. `clock` is the wall clock, in UTC."""

    def __init__(
        self,
        store: Store,
        runtime: CheckRuntime,
        probes: Probes,
        evidence: BinaryInputs,
        verdicts: Verdicts,
        clock: Callable[[], datetime],
        machine: MachineRecord | None = None,
    ) -> None:
        """`machine` says what is wrong with it; without it, only what is known of instances."""
        machine = machine or replace(faultless(clock), well_since=runtime.instances.well_since)
        self._machine = machine
        self._store = store
        self._instances = runtime.instances
        self._clock = clock
        self._disturbances = Disturbances(store, runtime.instances, machine)
        self._jobs = JobChecks(runtime, evidence, self._disturbances)
        self._probes = ProbeChecks(store, probes, evidence)
        self._webhooks = WebhookChecks(store, probes, verdicts)

    async def advance(
        self, pipeline: Pipeline, release: Release, promotion: Promotion
    ) -> VerificationProgress:
        """Do what is next, and return what is to be stored before the next call."""
        stored = promotion.status.checks
        stage = pipeline.stage(promotion.spec.stage)
        if stage is None:
            gone = f"the Pipeline has no stage {promotion.spec.stage} any more"
            return VerificationProgress(stored, VerificationOutcome.INCONCLUSIVE, gone)
        await self._jobs.clean(promotion, stored)
        now = self._clock()
        checks = {check.name: check for check in stage.verification.checks}
        address = await stage_address(self._store, pipeline, stage) if checks else Address()
        subject = VerifiedRelease(pipeline, stage, release, promotion, address.inside)
        asked = await self._disturbances.asked(pipeline, stage)
        context = _CheckContext(subject, address, asked, soak_of(stage, promotion), now)
        async with side_by_side() as group:
            tasks = [
                group.create_task(self._step(context, checks.get(result.name), result))
                for result in results_of(stage.verification.checks, stored)
            ]
        return concluded([task.result() for task in tasks], context.soak, now)

    async def stop(self, promotion: ObjectKey) -> None:
        """End what runs for a Promotion, which may be gone; nothing happens when nothing does.

        To be called after its last results are stored.
        """
        pipeline = ""
        with contextlib.suppress(NotFoundError):
            found = await self._store.get(Promotion, promotion.namespace, promotion.name)
            pipeline = found.spec.pipeline
        await self._jobs.stop(promotion, pipeline)

    async def _step(
        self, context: _CheckContext, check: Check | None, result: CheckResult
    ) -> CheckStep:
        if check is None:
            return CheckStep(result)  # a verdict that nobody asked for: it counts as it stands
        if result.phase is CheckPhase.PENDING:
            if fault := self._disturbances.now(context.now):
                waits = result.model_copy(update={"message": f"waits: {fault}"})
                return CheckStep(waits, _TROUBLE_SECONDS)
            left = pause(result, context.now)
            return CheckStep(result, left) if left else CheckStep(begun(result, context.now), 0)
        step = CheckStep(result)
        if result.phase is CheckPhase.RUNNING:
            begun_at = anchored(result, context.now)
            attempt = CheckAttempt(check, begun_at, context.now, self._machine.well_since())
            step = await self._look_safely(context, attempt)
        after = settled(check, step.result)
        again = pause(after, context.now) if after.phase is CheckPhase.PENDING else step.again
        return CheckStep(after, again)

    async def _look_safely(self, context: _CheckContext, attempt: CheckAttempt) -> CheckStep:
        """Look at an attempt; what cannot be seen now does not keep the others from going on."""
        try:
            step = await self._look(context, attempt)
            return await self._believed(context, attempt, step)
        except (StoreError, WorkloadError) as error:
            if error.retryable and attempt.left:
                return attempt.goes_on(f"cannot be read now: {error}", _TROUBLE_SECONDS)
            return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, str(error)))

    async def _believed(
        self, context: _CheckContext, attempt: CheckAttempt, step: CheckStep
    ) -> CheckStep:
        """Return an end that counts; else let the attempt run again. Jobs are judged already.

        A metric that has held was asked for the whole soak, and what others say has its own time.
        """
        check, result = attempt.check, step.result
        probed = check.http is not None or check.tcp is not None
        failed_metric = check.metric is not None and result.phase is not CheckPhase.PASSED
        if not result.phase.is_final or not (probed or failed_metric):
            return step
        run = CheckRun(result.started or attempt.now, attempt.now)
        beside = await self._disturbances.beside(context.asked, step, attempt, run)
        return attempt.disturbed(beside, result.message) if beside is not None else step

    async def _look(self, context: _CheckContext, attempt: CheckAttempt) -> CheckStep:
        check, address = attempt.check, context.address
        if check.job is not None:
            places = await check_places(self._instances, address)
            unready = places.unready if places.awaited else ""
            return await self._jobs.look(
                context.subject, check.job, attempt, context.asked, unready
            )
        if check.http is not None:
            places = await check_places(self._instances, address)
            namespace = context.subject.promotion.namespace
            return await self._probes.look_http(namespace, places, check.http, attempt)
        if check.tcp is not None:
            places = await check_places(self._instances, address)
            return await self._probes.look_tcp(places, check.tcp, attempt)
        if check.metric is not None:
            namespace = context.subject.pipeline.namespace
            return await self._probes.look_metric(namespace, check.metric, context.soak, attempt)
        if check.webhook is not None:
            return await self._webhooks.look(context.subject, address, check.webhook, attempt)
        return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, "it says nothing to check"))
