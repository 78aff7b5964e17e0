"""API of Pods, and of workloads that are entered as Pods are."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from starlette.websockets import WebSocket

from upwell.server.http.errors import ApiError, to_api_error
from upwell.server.http.limits import ServerLimits
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget, parse_target
from upwell.server.objects.objects import Handler
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.watches import Watches
from upwell.server.websocket.websockets import refuse
from upwell.server.workloads.exec import ExecutionHandlers
from upwell.server.workloads.instances import Instances
from upwell.server.workloads.pod_feed import PodFeed
from upwell.server.workloads.pods import PodHandlers
from upwell.server.workloads.port_forward import PortForwardHandlers
from upwell.store.interface import Reader, StoreError
from upwell.workload.interface import InteractiveRuntime, WorkloadError

type SocketHandler = Callable[[WebSocket, RequestTarget], Awaitable[None]]
"""Serves one WebSocket; raises what is answered to one that was not accepted."""


class PodApi:
    """The handlers, by what a request names. `run` tells watches of Pods what changes."""

    def __init__(
        self,
        objects: Reader,
        runtime: InteractiveRuntime | None,
        streams: OpenStreams,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self.instances = Instances(objects, runtime)
        self._feed = PodFeed(runtime, objects, clock())
        self._reads = ReadHandlers(self._feed, Watches(self._feed, streams, limits, clock), clock)
        self._pods = PodHandlers(self._feed, self.instances, limits)
        self._execute = ExecutionHandlers(self.instances, streams).execute
        self._forward = PortForwardHandlers(self.instances, streams).forward

    async def run(self) -> None:
        """Follow what runs, until it is cancelled."""
        await self._feed.run()

    @property
    def collection(self) -> Mapping[str, Handler]:
        """By method, for all Pods."""
        refused = dict.fromkeys(("POST", "DELETE"), self._pods.refuse)
        return {"GET": self._reads.list, **refused}

    @property
    def object(self) -> Mapping[str, Handler]:
        """By method, for one Pod."""
        refused = dict.fromkeys(("PUT", "PATCH"), self._pods.refuse)
        return {"GET": self._reads.get, "DELETE": self._pods.delete, **refused}

    @property
    def entrance(self) -> Mapping[str, Handler]:
        """By method, for `exec` and `portforward` without an upgrade to a WebSocket."""
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
            case "portforward":
                return self._forward
            case _:
                raise ApiError(400, "this path does not support WebSockets")
