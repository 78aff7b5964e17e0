"""Pods: instances as Kubernetes' clients know them. They are read and entered, never written."""

from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from upwell.policy.rollouts.settings import DEFAULT_GRACE
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.query import integer
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.write_options import is_dry
from upwell.server.workloads.instances import Instances
from upwell.server.workloads.pod_feed import PodFeed

_MOST_GRACE = 3600


class PodHandlers:
    """Answers what is not read: deletions, and everything that cannot be done to a Pod."""

    def __init__(self, feed: PodFeed, instances: Instances, limits: ServerLimits) -> None:
        self._feed = feed
        self._instances = instances
        self._limits = limits

    async def delete(self, request: Request, target: RequestTarget) -> Response:
        """Stop an instance, for its workload to start another; answers what it was when it is gone.

        Clients expect the Pod, where other kinds answer a Status.
        """
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        options = decode_object(body, media_type(request)) if body.strip() else {}
        pod = await self._feed.get(target.resource, target.namespace, target.name)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted not in {None, pod.uid}:
            raise ApiError(409, f"{pod.key} was not deleted: its uid is {pod.uid}", key=pod.key)
        if not is_dry(request, options):
            await self._instances.runtime.stop(pod.name, _grace(request, options))
        return object_response(request, pod)

    async def refuse(self, request: Request, target: RequestTarget) -> NoReturn:
        """Say where to go instead."""
        raise ApiError(
            405,
            f"{request.method} is not possible for pods: they show what runs."
            " Change the workload that they belong to (Deployment, StatefulSet, Job, …)",
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


def _grace(request: Request, options: dict[str, object]) -> int:
    seconds = options.get("gracePeriodSeconds", integer(request, "gracePeriodSeconds"))
    if seconds is None:
        return DEFAULT_GRACE
    if not isinstance(seconds, int) or not 0 <= seconds <= _MOST_GRACE:
        raise ApiError(400, f"gracePeriodSeconds: expected a number from 0 to {_MOST_GRACE}")
    return seconds
