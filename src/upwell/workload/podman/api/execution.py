"""A command in a container whose input and output are streams (Podman's exec sessions)."""

import asyncio
import contextlib
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, override

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import InstanceCommand, Output
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError
from upwell.workload.podman.api.log_frames import STDERR, BadFrameError, FrameReader

_CHUNK = 32 * 1024
_CLOSE_SECONDS = 1.0
_RESET = re.compile(
    rb"Error: read unixpacket @->\S*/attach: read: connection reset by peer\r?\n?\Z"
)
"""Podman's words for the end of its own socket, after those of a command that cannot be begun."""


def execution_body(command: InstanceCommand) -> Mapping[str, Any]:
    """Return the request that prepares a command."""
    return {
        "Cmd": list(command.words),
        "AttachStdin": command.stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": command.tty,
    }


@asynccontextmanager
async def conversation(
    api: PodmanApi, session: str, command: InstanceCommand, stop: Callable[[str], Awaitable[None]]
) -> AsyncIterator["PodmanExecution"]:
    """Start a prepared command, and close its streams at the end of the block.

    One that has not ended by then is stopped before, by `stop` with the session.
    """
    body = {"Detach": False, "Tty": command.tty}
    reader, writer = await api.converse(session, body)
    try:
        yield PodmanExecution(api, session, reader, writer, tty=command.tty)
    finally:
        try:
            if not reader.at_eof():
                await stop(session)
        finally:
            await _close(writer)


@asynccontextmanager
async def attachment(
    api: PodmanApi, container: str, *, stdin: bool
) -> AsyncIterator["PodmanAttachment"]:
    """Attach to a container's own process, and leave it at the end of the block."""
    try:
        config = (await api.inspect(container)).get("Config") or {}
    except PodmanNotFoundError as error:
        raise RuntimeUnavailableError(f"podman: {error}") from error
    reader, writer = await api.attach(container, stdin=stdin)
    path = f"/containers/{container}"
    try:
        yield PodmanAttachment(api, path, reader, writer, tty=bool(config.get("Tty")))
    finally:
        await _close(writer)


async def _close(writer: StreamWriter) -> None:
    """Close a stream; who reads no input for so long gets none of what is left."""
    writer.close()
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await writer.wait_closed()
        except TimeoutError:
            writer.transport.abort()


def _without_reset(piece: bytes) -> bytes:
    return _RESET.sub(b"", piece)


class PodmanExecution:
    """The Execution port: a command that runs in a container."""

    def __init__(
        self,
        api: PodmanApi,
        session: str,
        reader: StreamReader,
        writer: StreamWriter,
        *,
        tty: bool,
    ) -> None:
        self._api = api
        self._session = session
        self._reader = reader
        self._writer = writer
        self._tty = tty

    async def write(self, piece: bytes | memoryview) -> None:
        """Hand it input; what comes after its end is dropped."""
        with contextlib.suppress(OSError):
            for at in range(0, len(piece), _CHUNK):  # else a transport would copy all of it
                self._writer.write(piece[at : at + _CHUNK])
                await self._writer.drain()

    async def close_input(self) -> None:
        """Let it read the end of its input."""
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    async def resize(self, columns: int, rows: int) -> None:
        """Give its terminal another size; one that has ended needs none."""
        with contextlib.suppress(PodmanNotFoundError, RuntimeUnavailableError):
            await self._api.resize(self._session, columns, rows)

    async def output(self) -> AsyncIterator[tuple[Output, bytes]]:
        """Yield what it writes until it has ended."""
        frames = FrameReader()
        try:
            while chunk := await self._reader.read(_CHUNK):
                if self._tty:  # not framed: a terminal has one output
                    if shown := _without_reset(chunk):
                        yield Output.STDOUT, shown
                    continue
                for stream, payload in frames.frames(chunk):
                    if stream != STDERR:
                        yield Output.STDOUT, payload
                    elif shown := _without_reset(payload):
                        yield Output.STDERR, shown
        except (OSError, BadFrameError) as error:
            raise RuntimeUnavailableError(f"podman: output of a command: {error}") from error

    async def exit_code(self) -> int:
        """Return its exit code, when its output has ended."""
        try:
            return await self._api.exit_code(self._session)
        except PodmanNotFoundError as error:
            raise RuntimeUnavailableError(f"podman: {error}") from error


class PodmanAttachment(PodmanExecution):
    """The Execution port: the process of a container, to which somebody is attached."""

    @override
    async def exit_code(self) -> int:
        """Return 0: that the output has ended says nothing about the process."""
        return 0
