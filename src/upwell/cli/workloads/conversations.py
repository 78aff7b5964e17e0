"""Commands in containers, as a client speaks with them over the server's channels."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from upwell.api.apps import Job
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.workloads.terminal import raw_terminal, send_input, sizes
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Conversation, UnavailableError

PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_MAX_MESSAGE = 64 * 1024
"""Bytes that are kept of what a command says of its failure."""

ENTERED: tuple[type[Resource], ...] = (*WORKLOADS, Job, Pod)
"""Kinds with containers in which a command can run."""

type Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A container: that of a Pod, or of one instance of a workload."""

    resource: type[Resource]
    namespace: str
    name: str
    container: str = ""
    instance: str = ""

    def __str__(self) -> str:
        return f"{self.resource.KIND.singular}/{self.name}"

    @asynccontextmanager
    async def execute(
        self, client: ApiClient, command: tuple[str, ...], *, stdin: bool = False, tty: bool = False
    ) -> AsyncIterator[Conversation]:
        """Run a command, until the block ends."""
        words = [("command", word) for word in command]
        params = [*words, *self._params(stdin=stdin, tty=tty)]
        async with client.converse(*self._path("exec"), params, PROTOCOL) as conversation:
            yield conversation

    @asynccontextmanager
    async def attach(
        self, client: ApiClient, *, stdin: bool, tty: bool
    ) -> AsyncIterator[Conversation]:
        """Reach the container's own process, until the block ends."""
        params = self._params(stdin=stdin, tty=tty)
        async with client.converse(*self._path("attach"), params, PROTOCOL) as conversation:
            yield conversation

    def _path(self, subresource: str) -> tuple[type[Resource], str, str, str]:
        return self.resource, self.namespace, self.name, subresource

    def _params(self, *, stdin: bool, tty: bool) -> list[tuple[str, str]]:
        flags = {"stdin": stdin, "stdout": True, "stderr": not tty, "tty": tty}
        texts = {"container": self.container, "instance": self.instance}
        return [
            *((name, "true") for name, holds in flags.items() if holds),
            *((name, text) for name, text in texts.items() if text),
        ]


class Channel:
    """Sender on one channel; an empty piece closes it."""

    def __init__(self, conversation: Conversation, number: int) -> None:
        self._conversation = conversation
        self._number = number

    async def __call__(self, piece: bytes) -> None:
        """Send a piece."""
        head = (self._number,) if piece else (_CLOSE, self._number)
        await self._conversation.send(bytes(head) + piece)


def stdin_of(conversation: Conversation) -> Channel:
    """Return what sends to the command's stdin."""
    return Channel(conversation, _STDIN)


async def interact(conversation: Conversation, *, stdin: bool, tty: bool) -> int:
    """Lead this terminal to a command and back; return its exit code, or raise CommandError."""
    with ExitStack() as stack:
        if tty:
            stack.enter_context(raw_terminal())
            stack.enter_context(sizes(Channel(conversation, _RESIZE)))
        if stdin:
            send_input(stdin_of(conversation))
        return await answer(conversation, _writer(sys.stdout.buffer), _writer(sys.stderr.buffer))


def _writer(stream: BinaryIO) -> Take:
    def write(piece: bytes) -> None:
        stream.write(piece)
        stream.flush()

    return write


async def answer(conversation: Conversation, stdout: Take, stderr: Take) -> int:
    """Hand on what a command writes; return its exit code, or raise CommandError."""
    async for channel, piece in _pieces(conversation):
        if channel == _ERROR:
            return exit_code(piece)
        if channel in {_STDOUT, _STDERR}:
            (stdout if channel == _STDOUT else stderr)(piece)
    raise _lost()


async def _pieces(conversation: Conversation) -> AsyncIterator[tuple[int, bytes]]:
    try:
        async for message in conversation.messages():
            yield message[0], message[1:]
    except UnavailableError as error:
        raise _lost(str(error)) from error


def _lost(why: str = "the server closed the connection") -> CommandError:
    return CommandError(f"{why} before the command ended", Exit.UNREACHABLE)


def exit_code(raw: bytes) -> int:
    """Read the Status that ends a command (meta/v1); raises CommandError when it has none."""
    status = json.loads(raw)
    if status["status"] == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause["reason"] == "ExitCode":
            return int(cause["message"])
    raise CommandError(status.get("message", "cannot run the command"))


@dataclass(slots=True)
class Ran:
    """A command that runs without a person: its outputs, and how it ended."""

    conversation: Conversation
    code: int | None = None
    said: bytearray = field(default_factory=bytearray)
    """The beginning of its stderr."""

    async def stdout(self) -> AsyncIterator[bytes]:
        """Yield its stdout until it has ended; raises CommandError when the connection breaks."""
        async for channel, piece in _pieces(self.conversation):
            if channel == _ERROR:
                self.code = exit_code(piece)
                return
            if channel == _STDOUT and piece:
                yield piece
            elif channel == _STDERR:
                self.said += piece[: _MAX_MESSAGE - len(self.said)]
        raise _lost()

    @property
    def message(self) -> str:
        """Its stderr as text."""
        return self.said.decode(errors="replace").strip()

    def expect_success(self, what: str) -> None:
        """Raise CommandError if the command has failed; `what` says what was tried."""
        if self.code:
            why = self.message or f"exit code {self.code}"
            raise CommandError(f"{what}: {why}")


async def run_quietly(
    client: ApiClient,
    place: Place,
    command: tuple[str, ...],
    pieces: AsyncIterator[bytes] | None = None,
    *,
    limit: int = _MAX_MESSAGE,
) -> tuple[Ran, bytes]:
    """Run a command with what `pieces` give as its stdin; return it with its stdout.

    Raises CommandError for more than `limit` bytes of that.
    """
    found = bytearray()
    async with place.execute(client, command, stdin=pieces is not None) as conversation:
        ran = Ran(conversation)
        async with asyncio.TaskGroup() as tasks:
            # What fails to be read here ends the command, which would wait for it.
            sending = tasks.create_task(_send(conversation, pieces))
            async for piece in ran.stdout():
                found += piece
                if len(found) > limit:
                    raise CommandError(f"{place}: {command[0]} writes more than {limit} bytes")
            sending.cancel()
    return ran, bytes(found)


async def _send(conversation: Conversation, pieces: AsyncIterator[bytes] | None) -> None:
    if pieces is None:
        return
    send = stdin_of(conversation)
    async for piece in pieces:
        try:
            await send(piece)
        except UnavailableError:
            return  # the reader tells why
    with contextlib.suppress(UnavailableError):
        await send(b"")
