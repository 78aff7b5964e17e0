"""Runs Pods that are stored: one instance each, started by the same path as any workload's."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial

from upwell.api.apps import RevisionRecord
from upwell.api.meta import ObjectKey
from upwell.api.pod import FAILED, SUCCEEDED, Pod, PodStatus, template_of_pod
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.machine.disk import DiskPressureError
from upwell.policy.jobs.pods import FINALIZER, PENDING, PodPlan, is_run_once, plan, revision_of
from upwell.policy.rollouts.history import with_pinned_images
from upwell.policy.rollouts.instance import build_pod, instance_name, key_of
from upwell.policy.rollouts.orphans import remains
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import grace_seconds
from upwell.reconcilers.authority import MissingRightError
from upwell.reconcilers.rollouts import RolloutPorts, TemplateImages
from upwell.reconcilers.rollouts.instances import OwnedInstances
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.reconcilers.rollouts.stops import PendingStops
from upwell.reconcilers.rollouts.wiring import changed_owners, owners_of_instances
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store
from upwell.workload.interface import ImagePullError, Instance, State, WorkloadError

_STOPPING_PERIOD = 2.0
"""Seconds until a Pod is looked at again whose instance is stopping."""
_REFUSED_PERIOD = 60.0
"""Seconds until one is tried again that did not start, and whose trouble does not pass soon."""


class PodReconciler:
    """Starts the instance of each stored Pod, and starts it again as spec.restartPolicy says."""

    def __init__(
        self,
        store: Store,
        machine: RolloutPorts,
        images: TemplateImages,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._runtime = machine.runtime
        self.instances = OwnedInstances(machine.runtime)
        self._timeline = machine.timeline
        self._pressure = machine.pressure
        self._authority = machine.authority
        self._images = images
        self._revisions = Revisions(store, images, machine.api_authority)
        self._clock = clock
        self._stops = PendingStops(machine.runtime)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which everything is done; leaving it ends what is under way."""
        return self._stops.lifespan()

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

    def _need_room(self) -> None:
        """Raise DiskPressureError while there is no room for the images of what has not begun."""
        if why := self._pressure():
            raise DiskPressureError(why)

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

    async def _stop(self, instances: Sequence[Instance], grace: float) -> bool:
        """Begin to stop; return True if all are gone."""
        names = {one.name for one in instances}
        for owner in {one.owner for one in instances}:
            self.instances.forget(key_of(owner))
        for error in await self._stops.stop(names, grace):
            raise error
        return not names & self._stops.names

    async def _report(self, pod: Pod, found: PodPlan) -> None:
        changes = {"phase": found.phase, "reason": found.reason, "message": found.message}
        await self._write(pod, pod.status.model_copy(update=changes))

    async def _write(self, pod: Pod, status: PodStatus) -> None:
        if status != pod.status:
            await self._store.update_status(pod.with_status(status))


def _reason(error: TemplateError | WorkloadError | RegistryError | DiskPressureError) -> str:
    """Return why a Pod does not start, as Kubernetes' clients know it where they do."""
    is_pull = isinstance(error, RegistryError | ImagePullError)
    return "ImagePullBackOff" if is_pull else error.reason


def pod_controller(
    cache: ObjectCache,
    machine: RolloutPorts,
    images: TemplateImages,
    clock: Callable[[], datetime],
) -> Controller:
    """Return the controller of stored Pods."""
    reconciler = PodReconciler(cache.store, machine, images, clock)
    feeds = (
        partial(changed_owners, reconciler.instances),
        partial(owners_of_instances, reconciler.instances),
    )
    return Controller(
        "pods",
        reconciler,
        cache,
        (Watch(Pod),),
        feeds=feeds,
        workers=2,
        lifespan=reconciler.lifespan,
    )
