"""Ports of instances over WebSockets, in both ways that clients know.

kubectl carries a SPDY session, with a pair of streams for each connection. Libraries open one
WebSocket for a set of connections: for the port at position n of the query, channel 2n has its
data and 2n+1 its error, and each begins with the port's number (two bytes, the lower first).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from starlette.websockets import WebSocket

from upwell.machine.tasks import let_go
from upwell.server.auth.principals import Principal
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget
from upwell.server.websocket.channels import V4, V5, Channels
from upwell.server.websocket.relay import Connect, Connection, InboundPieces, relay
from upwell.server.websocket.spdy import SpdyError, goaway_frame
from upwell.server.websocket.tunnel import Tunnel
from upwell.server.websocket.websockets import Peer, negotiate
from upwell.server.workloads.instances import Instances
from upwell.workload.errors import UnreachableError, WorkloadError

_SPDY = "SPDY/3.1+portforward.k8s.io"
_MAX_PORTS = 64
_HIGHEST_PORT = 65535
_PROTOCOL_ERROR = 1


class PortForwardHandlers:
    """Serves `portforward` of Pods and workloads."""

    def __init__(self, instances: Instances, streams: OpenStreams, limits: ServerLimits) -> None:
        self._instances = instances
        self._streams = streams
        self._open = OpenForwards(limits)

    async def forward(self, websocket: WebSocket, target: RequestTarget) -> None:
        """Lead connections to an instance's ports; `instance` chooses one of a workload's."""
        protocol = negotiate(websocket, _known(websocket))
        ports = [] if protocol == _SPDY else _ports(websocket)
        found = await self._instances.running(target, websocket.query_params.get("instance", ""))
        self._streams.require_room()
        await websocket.accept(protocol)
        user = websocket.scope.get("user")
        client = f"token {user.username}" if isinstance(user, Principal) else "this client"
        connect = partial(self._connected, client, found.name)
        peer = Peer(websocket)
        with self._streams.counted():
            if protocol == _SPDY:
                await _tunnel(peer, connect)
            else:
                await _forward_channels(Channels(peer, protocol), connect, ports)
        await peer.close()

    @asynccontextmanager
    async def _connected(self, client: str, instance: str, port: int) -> AsyncIterator[Connection]:
        with self._open.counted(client):
            yield await self._instances.runtime.connect(instance, port)


class OpenForwards:
    """Counts the connections that are forwarded: each takes descriptors and buffers."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, client: str) -> Iterator[None]:
        """Count one while the block lasts; raises UnreachableError at a limit."""
        if self._open[client] >= self._limits.forwards_per_client:
            most = self._limits.forwards_per_client
            raise UnreachableError(f"{client} has {most} forwarded connections: close some first")
        if self._open.total() >= self._limits.forwards:
            raise UnreachableError("too many connections are forwarded: try again later")
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            self._open += Counter()  # without those that have none


def _known(websocket: WebSocket) -> tuple[str, ...]:
    """Return the protocols that may be chosen.

    Kubernetes has no v5 here. Clients that offer it nevertheless, beside v4, fail when it ends a
    channel; those that offer nothing else know what it is.
    """
    offered = websocket.scope.get("subprotocols", [])
    return (_SPDY, V4) if V4 in offered else (_SPDY, V5)


async def _tunnel(peer: Peer, connect: Connect) -> None:
    try:
        await Tunnel(connect, peer.send).serve(peer.messages())
    except* SpdyError:
        await peer.send(goaway_frame(0, _PROTOCOL_ERROR))


def _ports(websocket: WebSocket) -> list[int]:
    """Return the ports that the query names: `ports=80&ports=443`, or `ports=80,443`."""
    texts = [text for value in websocket.query_params.getlist("ports") for text in value.split(",")]
    ports = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 6]  # noqa: PLR2004
    if not ports or len(ports) != len(texts) or not all(0 < n <= _HIGHEST_PORT for n in ports):
        raise ApiError(400, "ports: expected numbers of TCP ports")
    if len(ports) > _MAX_PORTS:
        raise ApiError(400, f"ports: {len(ports)}, where {_MAX_PORTS} are allowed")
    return ports


async def _forward_channels(channels: Channels, connect: Connect, ports: list[int]) -> None:
    """Serve until all connections have ended or the client leaves."""
    inbounds = [InboundPieces() for _ in ports]
    for n, port in enumerate(ports):
        for channel in (2 * n, 2 * n + 1):
            await channels.send(channel, port.to_bytes(2, "little"))
    begun: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            forwards = [
                group.create_task(_forward_one(channels, connect, port, 2 * n, inbounds[n]))
                for n, port in enumerate(ports)
            ]
            dealing = group.create_task(_deal(channels, inbounds, forwards))
            begun += [*forwards, dealing]
            await asyncio.wait(forwards)
            dealing.cancel()
    finally:
        for task in begun:
            let_go(task)


async def _deal(
    channels: Channels, inbounds: list[InboundPieces], forwards: list[asyncio.Task[None]]
) -> None:
    """Give each connection what the client sends it, until the client leaves them all."""
    async for channel, piece in channels.pieces():
        number, is_error = divmod(channel, 2)
        if number < len(inbounds) and not is_error:
            await inbounds[number].put(piece)
    for forward in forwards:
        forward.cancel()


class _OverError(Exception):
    """A connection has ended, and its client cannot be told so without an end of all."""


async def _forward_one(
    channels: Channels,
    connect: Connect,
    port: int,
    channel: int,
    inbound: InboundPieces,
) -> None:
    async def send(piece: bytes) -> None:
        if piece:
            await channels.send(channel, piece)
        elif channels.can_close:
            await channels.close(channel)
        else:
            raise _OverError

    try:
        async with connect(port) as connection:
            await relay(connection, inbound, send)
    except* _OverError:
        pass
    except* WorkloadError as group:
        inbound.close()
        await channels.send(channel + 1, str(group.exceptions[0]).encode())
