"""Runs Pods that are stored: one instance each, started by the same path as any workload's."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import override

from upwell.api.apps import RevisionRecord
from upwell.api.meta import ObjectKey
from upwell.api.pod import FAILED, PULL_BACK_OFF, SUCCEEDED, Pod, PodStatus, template_of_pod
from upwell.controller import Controller, ObjectCache, Result
from upwell.machine.disk import DiskPressureError
from upwell.policy.jobs.pods import FINALIZER, PENDING, PodPlan, is_run_once, plan, revision_of
from upwell.policy.rollouts.history import with_pinned_images
from upwell.policy.rollouts.instance import build_pod, instance_name
from upwell.policy.rollouts.lost_objects import remains
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import grace_seconds
from upwell.reconcilers.authority import MissingRightError
from upwell.reconcilers.jobs.instances import InstanceReconciler, instance_controller
from upwell.reconcilers.rollouts import RolloutPorts, TemplateImages
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError
from upwell.workload.errors import ImagePullError, WorkloadError
from upwell.workload.interface import Instance, State

_STOPPING_PERIOD = 2.0
"""Seconds until a Pod is looked at again whose instance is stopping."""
_REFUSED_PERIOD = 60.0
"""Seconds until one is tried again that did not start, and whose trouble does not pass soon."""


class PodReconciler(InstanceReconciler):
    """Starts the instance of each stored Pod, and starts it again as spec.restartPolicy says."""

    @override
    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the Pod that `key` names further; one that was deleted leaves nothing running."""
        if key.kind != Pod.KIND.kind:
            return Result()
        instances = await self.instances.of(key)
        try:
            pod = await self._store.get(Pod, key.namespace, key.name)
        except NotFoundError:
            await self._stop(remains(instances, self._timeline), 0)
            return Result()
        if pod.is_deleting:
            return await self._end(pod, instances)
        if FINALIZER not in pod.metadata.finalizers:
            finalizers = (*pod.metadata.finalizers, FINALIZER)
            pod = await self._store.update(pod.with_metadata(finalizers=finalizers))
        if pod.status.phase in {SUCCEEDED, FAILED}:
            await self._stop_all(pod, instances)
            return Result()
        return await self._go_on(pod, instances)

    async def _end(self, pod: Pod, instances: Sequence[Instance]) -> Result:
        grace = pod.status.grace_seconds
        wanted = grace_seconds(template_of_pod(pod)) if grace is None else float(grace)
        if not await self._stop(instances, wanted):
            return Result(_STOPPING_PERIOD)
        finalizers = tuple(one for one in pod.metadata.finalizers if one != FINALIZER)
        await self._store.update(pod.with_metadata(finalizers=finalizers))
        return Result()

    async def _go_on(self, pod: Pod, instances: Sequence[Instance]) -> Result:
        try:
            if pod.status.start_time is None:
                await self._begin(pod)
                return Result(0)
            name = instance_name(pod, revision_of(pod), 0)
            instance = next((one for one in instances if one.name == name), None)
            found = plan(pod, instance, self._clock(), self._runtime.well_since())
            if found.start:
                if instance is None:
                    self._need_room()
                await self._start(pod, name)
        except (TemplateError, WorkloadError, RegistryError, DiskPressureError) as error:
            await self._report(pod, PodPlan(PENDING, _reason(error), str(error)))
            if getattr(error, "retryable", False):
                raise
            return Result(_REFUSED_PERIOD)
        await self._report(pod, found)
        if found.has_ended:
            await self._stop_all(pod, instances)
        if found.look_at is None:
            return Result(0) if found.start else Result()
        return Result(max((found.look_at - self._clock()).total_seconds(), 0))

    async def _begin(self, pod: Pod) -> None:
        """Record what the images are now: a restart has the same."""
        self._need_room()
        if why := await self._authority.refusal(pod):
            raise MissingRightError(why)
        images = await self._images.pin(template_of_pod(pod), pod.namespace)
        changes = {"images": images, "start_time": self._clock(), "phase": PENDING}
        await self._write(pod, pod.status.model_copy(update=changes))

    async def _start(self, pod: Pod, name: str) -> None:
        template = with_pinned_images(template_of_pod(pod), pod.status.images)
        record = RevisionRecord(
            revision=1,
            hash=revision_of(pod),
            template=template,
            created=self._clock(),
            images=pod.status.images,
        )
        revision = await self._revisions.load(pod, record)
        try:
            await self._runtime.start(build_pod(revision, name, once=is_run_once(pod)))
        finally:
            self.instances.forget(pod.key)

    async def _stop_all(self, pod: Pod, instances: Sequence[Instance]) -> None:
        """Stop what still runs of one that has ended; what has ended stays to be read."""
        running = [one for one in instances if one.state is not State.EXITED]
        await self._stop(running, grace_seconds(template_of_pod(pod)))

    async def _report(self, pod: Pod, found: PodPlan) -> None:
        changes = {"phase": found.phase, "reason": found.reason, "message": found.message}
        await self._write(pod, pod.status.model_copy(update=changes))

    async def _write(self, pod: Pod, status: PodStatus) -> None:
        if status != pod.status:
            await self._store.update_status(pod.with_status(status))


def _reason(error: TemplateError | WorkloadError | RegistryError | DiskPressureError) -> str:
    """Return why a Pod does not start, as Kubernetes' clients know it where they do."""
    is_pull = isinstance(error, RegistryError | ImagePullError)
    return PULL_BACK_OFF if is_pull else error.reason


def pod_controller(
    cache: ObjectCache,
    machine: RolloutPorts,
    images: TemplateImages,
    clock: Callable[[], datetime],
) -> Controller:
    """Return the controller of stored Pods."""
    reconciler = PodReconciler(cache.store, machine, images, clock)
    return instance_controller("pods", Pod, reconciler, cache)
