"""Forwarded connections inside one SPDY session (Kubernetes' portforward.k8s.io).

For each connection the client opens two streams with the same `requestID`: one of type `error`,
on which it is told what went wrong, and one of type `data`. Both are over when the connection is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from upwell.server.websocket.relay import Connect, InboundPieces, relay
from upwell.server.websocket.spdy import (
    Data,
    Decoder,
    Encoder,
    Frame,
    Ping,
    Reset,
    SpdyError,
    SynStream,
    data_frame,
    ping_frame,
    reset_frame,
)
from upwell.workload.errors import WorkloadError

_MAX_STREAMS = 256
"""128 connections at one time."""
_STALL_SECONDS = 30.0
"""A connection that takes nothing for so long is ended: it keeps all others of the session."""
_PROTOCOL_ERROR, _REFUSED_STREAM, _CANCEL = 1, 3, 5
_HIGHEST_PORT = 65535


@dataclass(slots=True)
class _Stream:
    """Data that the client sends on one stream."""

    id: int
    inbound: InboundPieces = field(default_factory=InboundPieces)
    forwarding: asyncio.Task[None] | None = None
    error: int = 0
    """Of a data stream: the error stream of the same request."""


class Tunnel:
    """One client's session; `send` hands bytes to it."""

    def __init__(self, connect: Connect, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._connect = connect
        self._send = send
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._streams: dict[int, _Stream] = {}
        self._errors: dict[str, int] = {}
        """Error streams that wait for their data stream, by request."""
        self._newest = 0

    async def serve(self, chunks: AsyncIterator[bytes]) -> None:
        """Serve until the client leaves; raises SpdyError for one that breaks the protocol."""
        async with asyncio.TaskGroup() as group:
            try:
                async for chunk in chunks:
                    for frame in self._decoder.feed(chunk):
                        await self._take(frame, group)
            finally:
                for stream in self._streams.values():
                    if stream.forwarding is not None:
                        stream.forwarding.cancel()

    async def _take(self, frame: Frame, group: asyncio.TaskGroup) -> None:
        match frame:
            case SynStream():
                await self._open(frame, group)
            case Data():
                await self._receive(frame)
            case Reset():
                await self._abandon(frame.stream)
            case Ping():
                await self._send(ping_frame(frame.number))
            case _:  # GOAWAY: what is open goes on until the client leaves
                pass

    async def _open(self, opened: SynStream, group: asyncio.TaskGroup) -> None:
        if opened.stream <= self._newest or opened.stream % 2 == 0:
            raise SpdyError(f"stream {opened.stream} after stream {self._newest}")
        self._newest = opened.stream
        request, port = opened.headers.get("requestid", ""), _port(opened.headers.get("port", ""))
        if len(self._streams) >= _MAX_STREAMS:
            return await self._send(reset_frame(opened.stream, _REFUSED_STREAM))
        stream = _Stream(opened.stream)
        match opened.headers.get("streamtype", "").lower():
            case "error" if request not in self._errors:
                self._errors[request] = stream.id
                self._streams[stream.id] = stream
                await self._send(self._encoder.syn_reply(stream.id))
            case "data" if request in self._errors and port:
                stream.error = self._errors.pop(request)
                self._streams[stream.id] = stream
                await self._send(self._encoder.syn_reply(stream.id))
                stream.forwarding = group.create_task(self._forward(stream, port))
                if opened.fin:
                    await stream.inbound.put(b"")
            case _:
                await self._send(reset_frame(opened.stream, _PROTOCOL_ERROR))
        return None

    async def _receive(self, data: Data) -> None:
        stream = self._streams.get(data.stream)
        if stream is None or stream.forwarding is None:
            return  # of a connection that is over, or what nobody reads
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                if data.payload:
                    await stream.inbound.put(data.payload)
                if data.fin:
                    await stream.inbound.put(b"")
        except TimeoutError:
            await self._send(reset_frame(stream.id, _CANCEL))
            await self._abandon(stream.id)

    async def _abandon(self, stream_id: int) -> None:
        """Drop a connection: the client wants no more of it, or it is of no use."""
        stream = self._streams.pop(stream_id, None)
        if stream is None or stream.forwarding is None:
            return
        stream.forwarding.cancel()
        stream.inbound.close()
        await self._finish_error(stream.error)

    async def _forward(self, stream: _Stream, port: int) -> None:
        async def send(piece: bytes) -> None:
            await self._send(data_frame(stream.id, piece, fin=not piece))

        error = b""
        try:
            async with self._connect(port) as connection:
                await relay(connection, stream.inbound, send)
        except WorkloadError as failure:
            error = str(failure).encode()
            stream.inbound.close()
            await send(b"")
        self._streams.pop(stream.id, None)
        await self._finish_error(stream.error, error)

    async def _finish_error(self, stream_id: int, message: bytes = b"") -> None:
        self._streams.pop(stream_id, None)
        await self._send(data_frame(stream_id, message, fin=True))


def _port(text: str) -> int:
    """Return the number of a TCP port; 0 for what is none."""
    digits = text if text.isascii() and text.isdigit() and len(text) <= len("65535") else "0"
    return int(digits) if int(digits) <= _HIGHEST_PORT else 0
