"""Pods to read and to watch: instances that the runtime says run, and Pods that are stored."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from functools import partial

from upwell.api.apps import Job
from upwell.api.codec import UnknownKindError, resource_of_kind
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.policy.rollouts.settings import Workload
from upwell.server.workloads.awaited_pods import AWAITING, AwaitingWorkloads
from upwell.server.workloads.pod_view import pod_of, stored_pod_of
from upwell.server.workloads.view_feed import ViewFeed
from upwell.store.interface import NotFoundError, Reader, UnavailableError
from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Runtime


class PodFeed(ViewFeed):
    """Implements Reader for Pods alone; `started` is the time of the process's start."""

    def __init__(
        self,
        runtime: Runtime | None,
        objects: Reader,
        started: datetime,
        awaiting: AwaitingWorkloads,
    ) -> None:
        sources = (runtime.changes, lambda: objects.watch(Pod)) if runtime is not None else ()
        waiting = (partial(self._awaiting_of, kind) for kind in AWAITING)
        super().__init__(Pod, self._all, (*sources, *(waiting if sources else ())), started)
        self._runtime = runtime
        self._objects = objects
        self._awaiting = awaiting

    async def _awaiting_of(self, kind: type[Workload | Job]) -> AsyncIterator[object]:
        """Yield something whenever a workload begins or ceases to wait for an image."""
        self._awaiting.forget(kind)
        async for event in self._objects.watch(kind):
            if self._awaiting.observe(event):
                yield event

    async def renew(self, pod: Pod, now: datetime) -> None:
        """Show another in the place of a Pod that is deleted, if nothing runs of it yet."""
        self._awaiting.renew(pod, now)
        await self._refresh()

    async def _all(self) -> Iterable[Pod]:
        if self._runtime is None:
            raise UnavailableError("no container runtime is configured")
        try:
            instances = await self._runtime.instances()
        except WorkloadError as error:
            raise UnavailableError(str(error)) from error
        owners = {owner: await self._owner(owner) for owner in {one.owner for one in instances}}
        shown = [pod_of(one, owners[one.owner]) for one in instances]
        found = {(pod.namespace, pod.name): pod for pod in shown}
        for pod in (await self._objects.list(Pod)).items:
            found.setdefault((pod.namespace, pod.name), stored_pod_of(pod, None))
        return (*found.values(), *self._awaiting.pods(found))

    async def _owner(self, owner: Owner) -> Resource | None:
        try:
            return await self._objects.get(
                resource_of_kind(owner.kind), owner.namespace, owner.name
            )
        except (NotFoundError, UnknownKindError):
            return None
