"""Makes the Jobs of CronJobs when they are due, one for each time, and clears old ones away."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from upwell.api.apps import CronJob, Job, JobStatus
from upwell.api.conditions import find, set_condition
from upwell.api.meta import (
    Condition,
    ObjectKey,
    ObjectMeta,
    ObjectReference,
    OwnerReference,
)
from upwell.api.values.author import made_of
from upwell.controller import Controller, ObjectCache, Result, Watch, of_both
from upwell.policy.jobs.cron import CronError, Due, decide, job_name
from upwell.policy.jobs.runs import SUPERSEDED
from upwell.policy.rollouts.triggers import unresolved
from upwell.reconcilers.jobs.jobs import delete_job, finished_at, has_succeeded
from upwell.store.interface import AlreadyExistsError, NotFoundError

SCHEDULED = "Scheduled"
SCHEDULED_TIME_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class CronJobReconciler:
    """Of the times that were missed while nobody looked, the last alone is made up for."""

    def __init__(self, cache: ObjectCache, clock: Callable[[], datetime]) -> None:
        self._store = cache.store
        self._clock = clock
        self._cache = cache
        self._owned = cache.index(Job, _owners)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Start what is due of the CronJob that `key` names, and say when the next is."""
        try:
            cron = await self._store.get(CronJob, key.namespace, key.name)
        except NotFoundError:
            return Result()
        if cron.is_deleting:
            return Result()
        cron = await self._not_ahead(cron)
        jobs = await self._jobs(cron)
        running = [job for job in jobs if finished_at(job) is None]
        try:
            due = decide(cron, running=len(running), now=self._clock())
        except CronError as error:
            await self._report(cron, jobs, ("False", error.reason, str(error)))
            return Result()
        waiting = unresolved(cron)
        if due.run is not None and waiting is not None:
            await self._report(cron, jobs, ("False", "ImageNotResolved", waiting))
            return self._until(due)
        if due.run is not None:
            cron, jobs = await self._run(cron, jobs, due, due.run)
        await self._clear(cron, await self._supersede(jobs))
        stopped = bool(cron.spec.suspend)
        reason = "Suspended" if stopped else "Waiting" if due.message else "OnSchedule"
        ready = due.message or (f"next: {due.next:%Y-%m-%d %H:%M} UTC" if due.next else "never")
        await self._report(cron, jobs, ("False" if stopped else "True", reason, ready))
        return self._until(due)

    async def _not_ahead(self, cron: CronJob) -> CronJob:
        """Count a run that was scheduled in the future, under a clock that was ahead, as now."""
        last = cron.status.last_schedule_time or cron.metadata.creation_timestamp
        now = self._clock()
        if last is None or last <= now:
            return cron
        status = cron.status.model_copy(update={"last_schedule_time": now})
        return await self._store.update_status(cron.with_status(status))

    def _until(self, due: Due) -> Result:
        if due.next is None:
            return Result()
        return Result(max((due.next - self._clock()).total_seconds(), 0))

    async def _jobs(self, cron: CronJob) -> list[Job]:
        """Return the CronJob's Jobs, newest first."""
        await self._cache.ready(Job)
        ours = sorted(self._owned.get(cron.uid), key=lambda job: job.name)
        ours.sort(key=lambda job: job.annotations.get(SCHEDULED_TIME_ANNOTATION, ""))
        return ours[::-1]

    async def _run(
        self, cron: CronJob, jobs: Sequence[Job], due: Due, time: datetime
    ) -> tuple[CronJob, list[Job]]:
        """Make the Job, then remember its time: its name keeps it from being made twice."""
        if due.replace:
            for job in jobs:
                if finished_at(job) is None:
                    await delete_job(self._store, job)
        made = list(jobs)
        # It exists when the process that made it was killed before it could remember.
        with contextlib.suppress(AlreadyExistsError):
            job = await self._store.create(made_of(_job(cron, time), cron))
            await self._cache.wait_for(job)  # the next look counts it
            made.insert(0, job)
        status = cron.status.model_copy(update={"last_schedule_time": time})
        return await self._store.update_status(cron.with_status(status)), made

    async def _supersede(self, jobs: Sequence[Job]) -> list[Job]:
        """Note on failed Jobs that a newer run has succeeded: they are no faults any more."""
        found: list[Job] = []
        newer = ""
        for job in jobs:
            newer = newer or (job.name if has_succeeded(job) else "")
            failed = finished_at(job) is not None and not has_succeeded(job)
            if newer and failed and find(job.status.conditions, SUPERSEDED) is None:
                found.append(await self._note(job, newer))
            else:
                found.append(job)
        return found

    async def _note(self, job: Job, newer: str) -> Job:
        note = Condition(
            type=SUPERSEDED,
            status="True",
            reason="NewerRunSucceeded",
            message=f"job/{newer} has succeeded after it",
            observed_generation=job.generation,
        )
        conditions = set_condition(job.status.conditions, note, self._clock())
        status = job.status.model_copy(update={"conditions": conditions})
        try:
            return await self._store.update_status(job.with_status(status))
        except NotFoundError:
            return job  # removed meanwhile

    async def _clear(self, cron: CronJob, jobs: Sequence[Job]) -> None:
        ended = [job for job in jobs if finished_at(job) is not None]
        good = [job for job in ended if has_succeeded(job)]
        bad = [job for job in ended if not has_succeeded(job)]
        spec = cron.spec
        for job in (
            *good[spec.successful_jobs_history_limit :],
            *bad[spec.failed_jobs_history_limit :],
        ):
            await delete_job(self._store, job)

    async def _report(
        self, cron: CronJob, jobs: Sequence[Job], ready: tuple[str, str, str]
    ) -> None:
        status, reason, message = ready
        condition = Condition(
            type=SCHEDULED,
            status=status,
            reason=reason,
            message=message,
            observed_generation=cron.generation,
        )
        times = [time for job in jobs if has_succeeded(job) and (time := finished_at(job))]
        before = cron.status.last_successful_time
        changed = cron.status.model_copy(
            update={
                "conditions": set_condition(cron.status.conditions, condition, self._clock()),
                "active": tuple(
                    ObjectReference(kind="Job", namespace=job.namespace, name=job.name)
                    for job in jobs
                    if finished_at(job) is None
                ),
                "last_successful_time": max([*times, *([before] if before else [])], default=None),
            }
        )
        if changed != cron.status:
            await self._store.update_status(cron.with_status(changed))


def cron_job_controller(cache: ObjectCache, clock: Callable[[], datetime]) -> Controller:
    """Return the controller of CronJobs."""
    watches = (Watch(CronJob), Watch(Job, of_both(_cron_jobs)))
    return Controller("cron-jobs", CronJobReconciler(cache, clock), cache, watches, workers=1)


def _owners(job: Job) -> Iterator[str]:
    yield from (owner.uid for owner in job.metadata.owner_references)


def _cron_jobs(job: Job) -> Iterator[ObjectKey]:
    for owner in job.metadata.owner_references:
        if owner.kind == CronJob.KIND.kind:
            yield ObjectKey(owner.kind, job.namespace, owner.name)


def _job(cron: CronJob, time: datetime) -> Job:
    template = cron.spec.job_template
    owner = OwnerReference(
        api_version=cron.KIND.api_version,
        kind=cron.KIND.kind,
        name=cron.name,
        uid=cron.metadata.uid or "",
        controller=True,
    )
    stamp = {SCHEDULED_TIME_ANNOTATION: time.isoformat()}
    return Job(
        metadata=ObjectMeta(
            namespace=cron.namespace,
            name=job_name(cron, time),
            labels=dict(template.metadata.labels),
            annotations={**template.metadata.annotations, **stamp},
            owner_references=(owner,),
        ),
        spec=template.spec,
        status=JobStatus(),
    )
