"""API of Pods, and of workloads that are entered as Pods are."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from starlette.websockets import WebSocket

from upwell.server.http.errors import ApiError, to_api_error
from upwell.server.http.limits import ServerLimits
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget, parse_target
from upwell.server.objects.objects import Handler, ObjectHandlers
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.watches import Watches
from upwell.server.websocket.websockets import refuse
from upwell.server.workloads.awaited_pods import AwaitingWorkloads
from upwell.server.workloads.endpoints import endpoint_feeds
from upwell.server.workloads.exec import ExecutionHandlers
from upwell.server.workloads.instances import Instances
from upwell.server.workloads.pod_feed import PodFeed
from upwell.server.workloads.pod_writer import PodWriter
from upwell.server.workloads.pods import PodHandlers
from upwell.server.workloads.port_forward import PortForwardHandlers
from upwell.store.interface import Store, StoreError
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import InteractiveRuntime

type SocketHandler = Callable[[WebSocket, RequestTarget], Awaitable[None]]
"""Serves one WebSocket; raises what is answered to one that was not accepted."""


class PodApi:
    """The handlers, by what a request names. `run` tells watches of Pods what changes."""

    def __init__(
        self,
        objects: Store,
        runtime: InteractiveRuntime | None,
        streams: OpenStreams,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        awaiting = AwaitingWorkloads()
        self.instances = Instances(objects, runtime, awaiting)
        self._feed = PodFeed(runtime, objects, clock(), awaiting)
        self._reads = ReadHandlers(self._feed, Watches(self._feed, streams, limits, clock), clock)
        self._feeds = (self._feed, *endpoint_feeds(runtime, objects, clock()))
        self.endpoints = {
            feed.kind.plural: ReadHandlers(feed, Watches(feed, streams, limits, clock), clock)
            for feed in self._feeds[1:]
        }
        """Handlers of Endpoints and EndpointSlices, by their plurals."""
        stored = ObjectHandlers(
            objects, self._reads, limits, clock, writer=PodWriter(objects, clock)
        )
        self._pods = PodHandlers(
            objects, self._feed, self.instances, stored, self._reads, limits, clock
        )
        execution = ExecutionHandlers(self.instances, streams, limits)
        self._execute, self._attach = execution.execute, execution.attach
        self._forward = PortForwardHandlers(self.instances, streams, limits).forward

    async def run(self) -> None:
        """Follow what runs, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for feed in self._feeds:
                group.create_task(feed.run())

    @property
    def collection(self) -> Mapping[str, Handler]:
        """By method, for all Pods."""
        return {
            "GET": self._reads.list,
            "POST": self._pods.create,
            "DELETE": self._pods.delete_collection,
        }

    @property
    def object(self) -> Mapping[str, Handler]:
        """By method, for one Pod."""
        return {
            "GET": self._reads.get,
            "PUT": self._pods.replace,
            "PATCH": self._pods.patch,
            "DELETE": self._pods.delete,
        }

    @property
    def parts(self) -> Mapping[tuple[str, str], Mapping[str, Handler]]:
        """Parts of one Pod, by method."""
        unsupported = dict.fromkeys(("GET", "PATCH", "PUT"), self._pods.refuse_ephemeral)
        return {
            ("pods", "ephemeralcontainers"): unsupported,
            ("pods", "eviction"): {"POST": self._pods.evict},
            ("pods", "exec"): self.entrance,
            ("pods", "status"): {"GET": self._reads.get},
        }

    @property
    def entrance(self) -> Mapping[str, Handler]:
        """By method, for `exec`, `attach` and `portforward` without an upgrade to a WebSocket."""
        return dict.fromkeys(("GET", "POST"), self._pods.refuse_plain)

    async def answer(self, websocket: WebSocket) -> None:
        """Serve a WebSocket, or answer why not."""
        path = websocket.path_params
        try:
            target = parse_target(path.get("group", ""), path["version"], path["path"])
            await self._handler(target)(websocket, target)
        except (ApiError, StoreError, WorkloadError) as error:
            await refuse(websocket, to_api_error(error))

    def _handler(self, target: RequestTarget) -> SocketHandler:
        match target.subresource:
            case "exec":
                return self._execute
            case "attach":
                return self._attach
            case "portforward":
                return self._forward
            case _:
                raise ApiError(400, "this path does not support WebSockets")
