"""Checks that are Jobs: started once, watched to their end or to their time's, then judged."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from upwell.api.apps import Job
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import JobCheck
from upwell.api.promotion import PIPELINE_LABEL, CheckPhase, CheckResult, Promotion
from upwell.cluster.errors import may_be_lifted
from upwell.policy.promotion.verification.checks import CheckAttempt, CheckStep, CheckVerdict
from upwell.policy.promotion.verification.disturbance import AskedWorkloads, Disturbance
from upwell.policy.promotion.verification.job_results import (
    ObservedEnd,
    judge,
    killed_by_others,
    of_another_image,
)
from upwell.policy.promotion.verification.jobs import (
    NoTestError,
    VerifiedRelease,
    build_job,
    container_of_test,
    image_of_test,
    is_over,
    job_name,
    promotion_of,
)
from upwell.policy.rollouts.instance import owner_of
from upwell.reconcilers.jobs.jobs import FAILED, finished_at, has_succeeded
from upwell.reconcilers.promotion.disturbances import CheckRun, Disturbances
from upwell.reconcilers.promotion.evidence import Collector, Test
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.store.interface import StoreError
from upwell.uploads.interface import BinaryInputs
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Instance, ObservedContainer, State

log = logging.getLogger(__name__)

_STARTED = "Started"
_MAX_MESSAGE = 2000
_REFUSED_SECONDS = 10.0
"""Until a Job is tried again that a right, a quota or a webhook has kept away."""
_RETRY_SECONDS = 2.0
"""Until a stage that does not answer yet is looked at again."""


class JobChecks:
    """Looks at one attempt, and does what it needs next."""

    def __init__(
        self,
        runtime: CheckRuntime,
        kept: BinaryInputs,
        disturbances: Disturbances,
    ) -> None:
        self._runtime = runtime
        self._jobs = runtime.jobs
        self._disturbances = disturbances
        self._instances = runtime.instances
        self._kept = kept

    @property
    def _place(self) -> str:
        """Cluster in which Jobs run, for people: a stage on many is checked in one of them."""
        return f" in cluster {self._runtime.cluster}" if self._runtime.cluster else ""

    async def look(
        self,
        subject: VerifiedRelease,
        test: JobCheck,
        attempt: CheckAttempt,
        asked: AskedWorkloads,
        unready: str = "",
    ) -> CheckStep:
        """Take a running attempt further.

        The test is not started while `unready` says why the stage does not answer yet.
        """
        name = job_name(subject.promotion, attempt.check.name, attempt.result.attempt)
        job = await self._jobs.find(subject.namespace, name)
        if job is None:
            if unready and attempt.left:
                return attempt.goes_on(unready, _RETRY_SECONDS)
            return await self._start(subject, test, attempt, unready)
        if job.is_deleting and attempt.left:
            return attempt.goes_on(f"Job {name} of the run before is removed", _RETRY_SECONDS)
        instance = await self._instance(job)
        ending = _ending(job, instance)
        if ending is None and attempt.left:
            why = f"Job {name}{self._place}: {await self._state(job, instance)}"
            return attempt.goes_on(why, self._runtime.look_again)
        found = await self._judge(subject, test, attempt, job, instance)
        if other := _another_image(subject, test, job, instance):
            found = replace(found, phase=CheckPhase.INCONCLUSIVE, message=other)
        verdict = replace(found, message=f"{found.message}{self._place}")
        began = instance.started_at if instance is not None else attempt.now
        step = attempt.ended(verdict)
        if killed := killed_by_others(_container(job, instance)):
            beside: Disturbance | None = Disturbance(killed)
        else:
            run = CheckRun(began, began)
            beside = await self._disturbances.beside(asked, step, attempt, run)
        if beside is not None:
            step = attempt.disturbed(beside, verdict.message)
        if not step.result.phase.is_final:
            await self._jobs.delete(job)
        return step

    async def clean(self, promotion: Promotion, results: Sequence[CheckResult]) -> None:
        """Delete the Jobs whose attempts have ended, now that their `results` are stored."""
        stored: Mapping[str, CheckResult] = {result.name: result for result in results}
        try:
            for job in await self._of(promotion.key, promotion.spec.pipeline):
                if is_over(job, stored):
                    await self._jobs.delete(job)
        except WorkloadError as error:
            log.info("Jobs of checks stay for now", extra={"why": str(error)})

    async def stop(self, promotion: ObjectKey, pipeline: str) -> None:
        """Delete every Job of a Promotion, whatever it does.

        The Promotion may be gone: without `pipeline`, all Jobs are looked through.
        """
        for job in await self._of(promotion, pipeline):
            await self._jobs.delete(job)

    async def _start(
        self, subject: VerifiedRelease, test: JobCheck, attempt: CheckAttempt, unready: str
    ) -> CheckStep:
        if not attempt.left:
            seconds, last = attempt.check.timeout_seconds, attempt.result.message
            why = unready or f"no answer within {seconds} s, and its Job is not there: {last}"
            return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, why))
        try:
            job = build_job(subject, attempt.check, test, attempt.result)
        except NoTestError as error:
            return attempt.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, str(error)))
        try:
            await self._jobs.create(job)
        except (StoreError, WorkloadError) as error:
            if not may_be_lifted(error):
                raise
            why = f"Job {job.name}{self._place} is refused: {error}"
            return attempt.goes_on(why, _REFUSED_SECONDS)
        return attempt.goes_on(f"Job {job.name}{self._place} is started")

    async def _judge(
        self,
        subject: VerifiedRelease,
        test: JobCheck,
        attempt: CheckAttempt,
        job: Job,
        instance: Instance | None,
    ) -> CheckVerdict:
        """Keep what shows how it went, and say how."""
        ran = _test(job, instance, subject.promotion.namespace)
        collector = Collector(self._instances, self._kept, ran)
        await collector.log()
        ending = _ending(job, instance)
        if ending is None or (ending.at is not None and ending.at > attempt.deadline):
            state = await self._state(job, instance)
            why = f"no answer within {attempt.check.timeout_seconds} s: {state}"
            verdict = CheckVerdict(CheckPhase.INCONCLUSIVE, why)
        else:
            findings = await collector.junit(test.junit) if test.junit else None
            verdict = judge(ending, findings)
            if verdict.phase is CheckPhase.FAILED and findings is None and collector.last_words:
                message = f"{verdict.message}: {collector.last_words}"
                verdict = replace(verdict, message=message)
        for path in test.artifacts:
            await collector.artifact(path)
        message = "; ".join([verdict.message, *collector.notes])[:_MAX_MESSAGE]
        return replace(verdict, message=message, evidence=collector.evidence)

    async def _state(self, job: Job, instance: Instance | None) -> str:
        """Say what the test does, for people."""
        if instance is not None:
            return f"{instance.state.lower()} {instance.message}".strip()
        started = find(job.status.conditions, _STARTED)
        if started is not None:
            return started.message or started.reason
        obstacle = await self._instances.obstacle(job)
        return f"not started yet: {obstacle}" if obstacle else "not started yet"

    async def _instance(self, job: Job) -> Instance | None:
        found = await self._instances.of_owner(owner_of(job.key))
        return max(found, key=lambda one: one.started_at, default=None)

    async def _of(self, promotion: ObjectKey, pipeline: str) -> Sequence[Job]:
        """Return the Jobs of a Promotion; they are searched for everywhere without `pipeline`."""
        found = await self._jobs.list({PIPELINE_LABEL: pipeline} if pipeline else {})
        return [job for job in found if promotion_of(job) == promotion]


def _test(job: Job, instance: Instance | None, namespace: str) -> Test:
    name = container_of_test(job)
    if instance is None:
        return Test("", name, namespace)
    times = [one.started_at for one in instance.containers if one.name == name]
    return Test(instance.name, name, namespace, next(iter(times), None))


def _another_image(
    subject: VerifiedRelease, test: JobCheck, job: Job, instance: Instance | None
) -> str:
    """Say that something else was tested than the Release; empty: nothing else that is known."""
    try:
        wanted = image_of_test(subject, test)
    except NoTestError:
        return ""  # the check was changed since
    return of_another_image(wanted, _container(job, instance))


def _container(job: Job, instance: Instance | None) -> ObservedContainer | None:
    test = container_of_test(job)
    containers = instance.containers if instance is not None else ()
    return next((one for one in containers if one.name == test), None)


def _ending(job: Job, instance: Instance | None) -> ObservedEnd | None:
    """Say how the test ended: as its container shows, or as its Job has recorded."""
    test = container_of_test(job)
    code = instance.exit_codes.get(test) if instance is not None else None
    # What stands beside the test, a database say, may go on for ever.
    if instance is not None and (code is not None or instance.state is State.EXITED):
        times = [one.ended_at for one in instance.containers if one.name == test]
        return ObservedEnd(code, next(iter(times), None), f"the test was ended: {instance.message}")
    if has_succeeded(job):
        return ObservedEnd(0, finished_at(job))
    if (failed := find(job.status.conditions, FAILED)) is not None and failed.is_true:
        return ObservedEnd(None, finished_at(job), f"{failed.reason}: {failed.message}")
    return None
