"""Pods as Kubernetes' clients know them: instances, and Pods that are stored."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.pod import Pod
from upwell.policy.rollouts.settings import DEFAULT_GRACE
from upwell.server.auth.caller import require_deletion
from upwell.server.http.errors import ApiError, success
from upwell.server.http.limits import ServerLimits
from upwell.server.http.query import integer
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_object
from upwell.server.objects.objects import ObjectHandlers
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.write_options import is_dry
from upwell.server.workloads.instances import Instances
from upwell.server.workloads.pod_feed import PodFeed
from upwell.store.interface import NotFoundError, Store
from upwell.store.retry import update_with_retry

_MOST_GRACE = 3600

type Document = dict[str, Any]


class PodHandlers:
    """Answers what is not read; a workload's instance can only be deleted."""

    def __init__(
        self,
        store: Store,
        feed: PodFeed,
        instances: Instances,
        stored: ObjectHandlers,
        reads: ReadHandlers,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._feed = feed
        self._instances = instances
        self._stored = stored
        self._reads = reads
        self._limits = limits
        self._clock = clock

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Store a Pod, which is run then."""
        return await self._stored.create(request, target)

    async def replace(self, request: Request, target: RequestTarget) -> Response:
        """Put a Pod in the place of a stored one."""
        await self._refuse_instance(target)
        return await self._stored.replace(request, target)

    async def patch(self, request: Request, target: RequestTarget) -> Response:
        """Patch or apply a stored Pod."""
        await self._refuse_instance(target)
        return await self._stored.patch(request, target)

    async def delete(self, request: Request, target: RequestTarget) -> Response:
        """Delete a Pod. That of a workload is stopped, for its workload to start another.

        Clients expect the Pod, where other kinds answer a Status.
        """
        options = await self._options(request)
        pod = await self._feed.get(Pod, target.namespace, target.name)
        _require_same(pod, options)
        deleted = await self._delete(request, pod, options)
        return object_response(request, deleted)

    async def evict(self, request: Request, target: RequestTarget) -> Response:
        """Delete a Pod as `delete` does: no budget holds it (policy/v1 Eviction)."""
        eviction = await self._options(request)
        options = eviction.get("deleteOptions") or {}
        if not isinstance(options, dict):
            raise ApiError(400, "deleteOptions: expected an object")
        _require_preconditions(options)
        pod = await self._feed.get(Pod, target.namespace, target.name)
        _require_same(pod, options)
        await self._delete(request, pod, options)
        return JSONResponse(success(pod.key, pod.uid), 201)

    async def delete_collection(self, request: Request, target: RequestTarget) -> Response:
        """Delete every Pod that the selectors match."""
        options = await self._options(request)
        found, _ = await self._reads.select(request, target)
        for pod in found:
            if isinstance(pod, Pod):
                await self._delete(request, pod, options)
        return await self._reads.list(request, target)

    async def _options(self, request: Request) -> Document:
        options = await read_object(request, self._limits, may_be_empty=True)
        _require_preconditions(options)
        return options

    async def _delete(self, request: Request, pod: Pod, options: Document) -> Pod:
        """Delete the Pod that is seen, or stop the instance that it shows."""
        grace = _grace(request, options)
        try:
            old = await self._store.get(Pod, pod.namespace, pod.name)
        except NotFoundError:
            if not is_dry(request, options):
                await self._instances.runtime.stop(
                    pod.name, DEFAULT_GRACE if grace is None else grace
                )
                await self._feed.renew(pod, self._clock())
            return pod
        require_deletion(request, old)
        if is_dry(request, options):
            return pod
        return await self._delete_stored(old, pod, grace)

    async def _delete_stored(self, old: Pod, shown: Pod, grace: int | None) -> Pod:
        async def with_grace() -> Pod:
            found = await self._store.get(Pod, old.namespace, old.name)
            status = found.status.model_copy(update={"grace_seconds": grace})
            return found.with_status(status)

        try:
            if grace is not None:
                await update_with_retry(with_grace, self._store.update_status)
            await self._store.delete(Pod, old.namespace, old.name)
            if old.is_deleting and grace is not None:  # it stops already, and has less time now
                for instance in await self._instances.of_pod(old.namespace, old.name):
                    await self._instances.runtime.stop(instance.name, grace)
            return await self._feed.get(Pod, old.namespace, old.name)
        except NotFoundError:
            return shown

    async def _refuse_instance(self, target: RequestTarget) -> None:
        """Raise ApiError 405 for the name of a workload's instance; others may be stored."""
        try:
            await self._store.get(Pod, target.namespace, target.name)
        except NotFoundError:
            try:
                pod = await self._feed.get(Pod, target.namespace, target.name)
            except NotFoundError:
                return
            raise ApiError(
                405,
                f"{pod.key} shows what runs of a workload: change the workload that it belongs to"
                " (Deployment, StatefulSet, Job, …)",
                key=pod.key,
            ) from None

    async def refuse_ephemeral(self, request: Request, target: RequestTarget) -> NoReturn:
        """Say what to do instead of an ephemeral container."""
        del request
        raise ApiError(
            405,
            "containers cannot be added to what runs: use kubectl exec, or kubectl debug"
            f" {target.name} --copy-to=NAME for a Pod of its own",
            key=target.key,
        )

    async def refuse_plain(self, request: Request, target: RequestTarget) -> NoReturn:
        """Answer a request that should have been a WebSocket's, with what is wrong with it."""
        query = request.query_params
        await self._instances.running(target, query.get("instance", ""), query.get("container", ""))
        raise ApiError(
            400,
            f"{target.subresource} goes over a WebSocket: kubectl speaks it since version 1.31,"
            " unless KUBECTL_REMOTE_COMMAND_WEBSOCKETS or KUBECTL_PORT_FORWARD_WEBSOCKETS is false",
            key=target.key,
        )


def _require_preconditions(options: Document) -> None:
    """Raise ApiError where the preconditions are none."""
    if not isinstance(options.get("preconditions") or {}, dict):
        raise ApiError(400, "preconditions: expected an object")


def _require_same(pod: Pod, options: Document) -> None:
    """Raise ApiError 409 for another Pod than the one whose uid the preconditions name."""
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted is not None and wanted != pod.uid:
        raise ApiError(409, f"{pod.key} was not deleted: its uid is {pod.uid}", key=pod.key)


def _grace(request: Request, options: Document) -> int | None:
    """Return the time to end that is asked for; None: that of the Pod."""
    seconds = options.get("gracePeriodSeconds", integer(request, "gracePeriodSeconds"))
    if seconds is None:
        return None
    if not isinstance(seconds, int) or not 0 <= seconds <= _MOST_GRACE:
        raise ApiError(400, f"gracePeriodSeconds: expected a number from 0 to {_MOST_GRACE}")
    return seconds
