"""Runs Jobs in instances that end: each index to one recorded good end, whatever is killed."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import override

from upwell.api.apps import Job, JobStatus, RevisionRecord
from upwell.api.conditions import find, set_condition, without
from upwell.api.defaults.jobs import without_own_labels
from upwell.api.meta import Condition, ObjectKey
from upwell.controller import Controller, ObjectCache, Result
from upwell.machine.disk import DiskPressureError
from upwell.policy.jobs.runs import JobPlan, Run, plan
from upwell.policy.rollouts.history import with_pinned_images
from upwell.policy.rollouts.instance import (
    build_task,
    index_of,
    instance_name,
    is_interrupted,
)
from upwell.policy.rollouts.lost_objects import remains
from upwell.policy.rollouts.pod_template import TemplateError, template_hash
from upwell.policy.rollouts.report import IMAGES_AVAILABLE, missing_images
from upwell.policy.rollouts.settings import grace_seconds
from upwell.reconcilers.authority import MissingRightError
from upwell.reconcilers.jobs.instances import InstanceReconciler, instance_controller
from upwell.reconcilers.rollouts import RolloutPorts, TemplateImages
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store
from upwell.workload.errors import ImagePullError, WorkloadError
from upwell.workload.interface import Instance, State

FINALIZER = "upwell.dev/job"
ROLE = "job"

COMPLETE = "Complete"
FAILED = "Failed"
_STARTED = "Started"
_STOPPING_PERIOD = 2.0
"""Seconds until a Job is looked at again whose instances are stopping."""
_REFUSED_PERIOD = 60.0
"""Seconds until one is tried again that did not start, and whose trouble does not pass soon."""
_ENDED = frozenset({State.CREATED, State.LOST, State.EXITED})
"""States of an instance that does not go on by itself."""

type _Trouble = TemplateError | WorkloadError | RegistryError | DiskPressureError


class JobReconciler(InstanceReconciler):
    """Starts the runs of a Job, counts how they end, and leaves them to be read until it goes."""

    @override
    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the Job that `key` names further; one that was deleted leaves nothing running."""
        if key.kind != Job.KIND.kind:
            return Result()
        instances = await self.instances.of(key)
        try:
            job = await self._store.get(Job, key.namespace, key.name)
        except NotFoundError:
            await self._stop(remains(instances, self._timeline), 0)
            return Result()
        if job.is_deleting:
            return await self._end(job, instances)
        if FINALIZER not in job.metadata.finalizers:
            finalizers = (*job.metadata.finalizers, FINALIZER)
            job = await self._store.update(job.with_metadata(finalizers=finalizers))
        if finished_at(job) is not None:
            await self._stop([one for one in instances if one.state is not State.EXITED], 0)
            return await self._expire(job)
        return await self._go_on(job, instances)

    async def _end(self, job: Job, instances: Sequence[Instance]) -> Result:
        if not await self._stop(instances, grace_seconds(job.spec.template)):
            return Result(_STOPPING_PERIOD)
        finalizers = tuple(one for one in job.metadata.finalizers if one != FINALIZER)
        await self._store.update(job.with_metadata(finalizers=finalizers))
        return Result()

    async def _expire(self, job: Job) -> Result:
        """Delete a finished Job when its time is over."""
        seconds, finished = job.spec.ttl_seconds_after_finished, finished_at(job)
        if seconds is None or finished is None:
            return Result()
        left = (finished + timedelta(seconds=seconds) - self._clock()).total_seconds()
        if 0 < left <= seconds:  # more is left to what ended under a clock that was ahead
            return Result(left)
        await self._store.delete(Job, job.namespace, job.name)
        return Result()

    async def _go_on(self, job: Job, instances: Sequence[Instance]) -> Result:
        try:
            if not job.status.images and not job.spec.suspend:
                self._need_room()
                return await self._begin(job)
            job = await self._not_ahead(job)
            runs = [_run(one) for one in instances]
            found = plan(job, runs, self._clock(), self._runtime.well_since())
            if found.start and not instances:  # what has run has its images
                self._need_room()
            await self._start(job, found.start)
        except (TemplateError, WorkloadError, RegistryError, DiskPressureError) as error:
            await self._report_trouble(job, error)
            if getattr(error, "retryable", False):
                raise
            return Result(_REFUSED_PERIOD)
        if found.outcome or (job.spec.suspend and instances):
            running = [one for one in instances if one.state is not State.EXITED]
            await self._stop(running, grace_seconds(job.spec.template))
        await self._report(job, instances, found)
        if found.look_at is None:
            return Result(0) if found.start else Result()
        return Result(max((found.look_at - self._clock()).total_seconds(), 0))

    async def _not_ahead(self, job: Job) -> Job:
        """Count a start in the future, under a clock that was ahead, as now."""
        now = self._clock()
        if job.status.start_time is None or job.status.start_time <= now:
            return job
        status = job.status.model_copy(update={"start_time": now})
        return await self._store.update_status(job.with_status(status))

    async def _begin(self, job: Job) -> Result:
        """Record what the images are now: all runs have the same."""
        if why := await self._authority.refusal(job):
            raise MissingRightError(why)
        images = await self._images.pin(job.spec.template, job.namespace)
        changes = {"images": images, "start_time": self._clock()}
        await self._store.update_status(job.with_status(job.status.model_copy(update=changes)))
        return Result(0)

    async def _start(self, job: Job, indices: Sequence[int]) -> None:
        if not indices:
            return
        template = with_pinned_images(job.spec.template, job.status.images)
        record = RevisionRecord(
            revision=1,
            hash=template_hash(with_pinned_images(without_own_labels(job), job.status.images)),
            template=template,
            created=self._clock(),
            images=job.status.images,
        )
        revision = await self._revisions.load(job, record)
        for index in indices:
            spec = build_task(revision, instance_name(job, record.hash, index), ROLE)
            try:
                await self._runtime.start(spec)
            finally:
                self.instances.forget(job.key)

    async def _report(self, job: Job, instances: Sequence[Instance], found: JobPlan) -> None:
        now = self._clock()
        conditions = job.status.conditions
        if found.outcome:
            good = found.outcome == COMPLETE
            ended = Condition(
                type=COMPLETE if good else FAILED,
                status="True",
                reason="CompletionsReached" if good else found.outcome,
                message=found.message,
                observed_generation=job.generation,
            )
            conditions = set_condition(conditions, ended, now)
        else:
            state = "Suspended" if job.spec.suspend else "Running"
            waits = next((one.message for one in instances if one.state is State.PULLING), "")
            conditions = self._with_started(job, state, found.message or waits)
        runs = [_run(one) for one in instances]
        status = job.status.model_copy(
            update={
                "active": 0 if found.outcome else sum(not run.ended for run in runs),
                "succeeded": len(found.completed),
                "failed": sum(run.failures for run in runs),
                "completed": found.completed,
                "completion_time": now if found.outcome == COMPLETE else None,
                "conditions": without(conditions, IMAGES_AVAILABLE),
            }
        )
        await self._write(job, status)

    async def _report_trouble(self, job: Job, error: _Trouble) -> None:
        conditions = self._with_started(job, error.reason, str(error))
        if isinstance(error, RegistryError | ImagePullError):
            missing = missing_images(error.reason, str(error), job.generation)
            conditions = set_condition(conditions, missing, self._clock())
        else:
            conditions = without(conditions, IMAGES_AVAILABLE)
        await self._write(job, job.status.model_copy(update={"conditions": conditions}))

    def _with_started(self, job: Job, reason: str, message: str) -> tuple[Condition, ...]:
        condition = Condition(
            type=_STARTED,
            status="True" if reason == "Running" else "False",
            reason=reason,
            message=message,
            observed_generation=job.generation,
        )
        return set_condition(job.status.conditions, condition, self._clock())

    async def _write(self, job: Job, status: JobStatus) -> None:
        if status != job.status:
            await self._store.update_status(job.with_status(status))


def _run(instance: Instance) -> Run:
    return Run(
        index=index_of(instance.name),
        started_at=instance.started_at,
        ended=instance.state in _ENDED,
        succeeded=instance.succeeded,
        restarts=instance.restarts,
        message=instance.message,
        interrupted=is_interrupted(instance),
        losses=instance.losses,
    )


async def delete_job(store: Store, job: Job) -> None:
    """Delete a Job unless that is under way, or done; raises StoreError."""
    if not job.is_deleting:
        with suppress(NotFoundError):
            await store.delete(Job, job.namespace, job.name)


def finished_at(job: Job) -> datetime | None:
    """Return when a Job has ended, well or badly; None while it goes on."""
    for kind in (COMPLETE, FAILED):
        condition = find(job.status.conditions, kind)
        if condition is not None and condition.is_true:
            return condition.last_transition_time
    return None


def has_succeeded(job: Job) -> bool:
    """Return True if a Job has ended well."""
    condition = find(job.status.conditions, COMPLETE)
    return condition is not None and condition.is_true


def job_controller(
    cache: ObjectCache,
    machine: RolloutPorts,
    images: TemplateImages,
    clock: Callable[[], datetime],
) -> Controller:
    """Return the controller of Jobs."""
    reconciler = JobReconciler(cache.store, machine, images, clock)
    return instance_controller("jobs", Job, reconciler, cache)
