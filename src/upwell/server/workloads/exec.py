"""Commands in containers over WebSockets: input, outputs, the terminal's size, and how it ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.websockets import WebSocket

from upwell.machine.tasks import let_go
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_seats import RequestSeats
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.query import is_true
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget
from upwell.server.objects.account_rights import require_entry
from upwell.server.websocket.channels import PROTOCOLS, Channels
from upwell.server.websocket.websockets import Peer, negotiate
from upwell.server.workloads.instances import Instances
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import ExecSession, Instance, InstanceCommand, Output

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_MAX_SIDE = 65535
"""Columns or rows of a terminal."""


class ExecutionHandlers:
    """Serves `exec` of Pods and workloads, and `attach` of Pods."""

    def __init__(self, instances: Instances, streams: OpenStreams, limits: ServerLimits) -> None:
        self._instances = instances
        self._streams = streams
        self._starts = RequestSeats(limits.commands)

    async def execute(self, websocket: WebSocket, target: RequestTarget) -> None:
        """Run the command that the query names; `instance` chooses one of a workload's.

        The command ends when the client leaves.
        """
        query = websocket.query_params
        tty = is_true(websocket, "tty")
        command = InstanceCommand(
            tuple(query.getlist("command")),
            query.get("container", ""),
            stdin=is_true(websocket, "stdin"),
            tty=tty,
        )
        if not command.words:
            raise ApiError(400, "command: name what to run")
        protocol = negotiate(websocket, PROTOCOLS)
        found = await self._instances.running(target, query.get("instance", ""), command.container)
        await self._require_entry(websocket, found)
        running = self._in_turn(websocket, self._instances.runtime.run(found.name, command))
        await self._relay(websocket, protocol, target, running)

    async def attach(self, websocket: WebSocket, target: RequestTarget) -> None:
        """Connect the client to a container's own process, from now on; it outlives the client."""
        query = websocket.query_params
        container = query.get("container", "")
        protocol = negotiate(websocket, PROTOCOLS)
        found = await self._instances.running(target, query.get("instance", ""), container)
        await self._require_entry(websocket, found)
        stdin = is_true(websocket, "stdin")
        held = self._instances.runtime.attach(found.name, container, stdin=stdin)
        await self._relay(websocket, protocol, target, held)

    @asynccontextmanager
    async def _in_turn(
        self, websocket: WebSocket, running: AbstractAsyncContextManager[ExecSession]
    ) -> AsyncIterator[ExecSession]:
        """Start a command when it is the client's turn: a start takes processors from all."""
        async with AsyncExitStack() as stack:
            async with self._starts.seat(_client(websocket)):
                execution = await stack.enter_async_context(running)
            yield execution

    async def _relay(
        self,
        websocket: WebSocket,
        protocol: str,
        target: RequestTarget,
        session: AbstractAsyncContextManager[ExecSession],
    ) -> None:
        """Connect the client to a session until one of them ends, and tell it how that was."""
        self._streams.require_room()
        try:
            with self._streams.counted():
                async with session as execution:
                    await websocket.accept(protocol)
                    peer = Peer(websocket)
                    channels = Channels(peer, protocol)
                    outcome = await _converse(execution, channels)
                # It has ended, however long the client takes to hear of it.
                await _tell(channels, outcome)
                await peer.close()
        except WorkloadError as error:
            raise ApiError(400, str(error), key=target.key) from error

    async def _require_entry(self, websocket: WebSocket, instance: Instance) -> None:
        """Raise ApiError 403 for who would get the token of an account that may do more."""
        owner, user = await self._instances.owner(instance), websocket.scope.get("user")
        if isinstance(user, Principal):
            entrant = (user.username, user.grants)
            await require_entry(self._instances.objects, instance, owner, *entrant)


def _client(websocket: WebSocket) -> str:
    user, source = websocket.scope.get("user"), str((websocket.scope.get("client") or ("",))[0])
    return f"token {user.username} at {source}" if isinstance(user, Principal) else source


async def _converse(execution: ExecSession, channels: Channels) -> Mapping[str, Any] | None:
    """Copy between a command and its client until the one has ended or the other has left.

    Returns how the command ended; None when the client left.
    """
    # Clients take the first message as a sign that the command runs.
    await channels.send(_STDOUT, b"")
    answering = asyncio.create_task(_answer(execution, channels))
    listening = asyncio.create_task(_listen(execution, channels))
    try:
        await asyncio.wait({answering, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (answering, listening):
            task.cancel()
        await asyncio.wait({answering, listening})
        for task in (answering, listening):
            let_go(task)
    if not listening.cancelled():
        listening.result()
    return None if answering.cancelled() else answering.result()


async def _answer(execution: ExecSession, channels: Channels) -> Mapping[str, Any]:
    """Send what a command writes, and return how it ended."""
    try:
        async for output, piece in execution.output():
            await channels.send(_STDERR if output is Output.STDERR else _STDOUT, piece)
        return _exit_status(await execution.exit_code())
    except WorkloadError as error:
        return _failure("InternalError", str(error))


async def _tell(channels: Channels, outcome: Mapping[str, Any] | None) -> None:
    if outcome is not None:
        await channels.send(_ERROR, json.dumps(outcome).encode())


async def _listen(execution: ExecSession, channels: Channels) -> None:
    async for channel, piece in channels.pieces():
        if channel == _STDIN:
            await (execution.write(piece) if piece else execution.close_input())
        elif channel == _RESIZE and (size := _size(bytes(piece))):
            await execution.resize(*size)


def _size(message: bytes) -> tuple[int, int] | None:
    """Return columns and rows of a client's terminal; None for what does not say them."""
    try:
        document = json.loads(message)
        columns, rows = int(document["Width"]), int(document["Height"])
    except (ValueError, TypeError, KeyError):
        return None
    fits = 0 < columns <= _MAX_SIDE and 0 < rows <= _MAX_SIDE
    return (columns, rows) if fits else None


def _exit_status(code: int) -> dict[str, Any]:
    """Return what Kubernetes says of a command that has ended (meta/v1 Status)."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    message = f"command terminated with non-zero exit code: {code}"
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return _failure("NonZeroExitCode", message) | {"details": {"causes": causes}}


def _failure(reason: str, message: str) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "reason": reason, "message": message}
