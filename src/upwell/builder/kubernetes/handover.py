"""Handing a build's plan and source over to its Pod, by way of a command that runs in the Pod.

The command only joins its standard streams to a socket of the process that builds. Neither plan nor
source is in any object of the cluster: they pass through the API server, and Secrets among them lie
in the Pod's memory. Sizes go ahead of contents, as the way has no end of input (v4.channel.k8s.io).
"""

import asyncio
import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from upwell.builder.kubernetes.documents import (
    InvalidDocumentError,
    PodInput,
    decode_input,
    encode_input,
)
from upwell.builder.kubernetes.pods import HandoverError, PodChannel

READY = b"Ready for the input of the build"
"""Line of the log by which a Pod asks for its input; it takes it as often as it is given."""

_SOCKET = "input.sock"
_TREE, _DONE = "tree", "done"
_CHUNK = 256 * 1024
_MOST_HEAD = 4096
_MOST_INPUT = 256 * 1024**2
_IN_PLACE = Path("source")
"""Stands in a plan for the source that comes after it."""

type TakeInput = Callable[[PodInput], bool]
"""Takes an input in the Pod, and says whether its source is needed still."""


async def hand_over(channel: PodChannel, given: PodInput, folder: Path) -> None:
    """Give a Pod its input, and its source unless it has that; raises HandoverError.

    `folder` is one to write the archive of the source into.
    """
    plan = given.plan
    sent = replace(plan, context=_IN_PLACE if plan.context is not None else None)
    raw = encode_input(replace(given, plan=sent))
    await channel.send(_head(len(raw), hashlib.sha256(raw).hexdigest()))
    for start in range(0, len(raw), _CHUNK):
        await channel.send(raw[start : start + _CHUNK])
    answer = await channel.line()
    if answer == _TREE and plan.context is not None:
        archive = folder / "source.tar.gz"
        size, digest = await asyncio.to_thread(pack, plan.context, archive)
        await channel.send(_head(size, digest))
        with archive.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                await channel.send(chunk)
        archive.unlink()
        answer = await channel.line()
    if answer != _DONE:
        raise HandoverError(answer or "it closed the connection")


class InputReceiver:
    """Socket in a Pod on which the process that builds gets its input."""

    def __init__(self, folder: Path, source: Path, take: TakeInput) -> None:
        """`source` is the folder for the tree; it must not be there yet."""
        self._socket = folder / _SOCKET
        self._source = source
        self._take = take
        self.complete = asyncio.Event()
        """Set when nothing is missing any more."""

    async def serve(self, ready: Callable[[], None]) -> None:
        """Take input for ever; call `ready` when there is a socket."""
        server = await asyncio.start_unix_server(self._received, self._socket, limit=_MOST_HEAD)
        async with server:
            self._socket.chmod(0o600)
            ready()
            await server.serve_forever()

    async def _received(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._receive(reader, writer)
        except (HandoverError, InvalidDocumentError, OSError, tarfile.TarError, EOFError) as error:
            answer = str(error).replace("\n", " ") or type(error).__name__
        with suppress(ConnectionError):
            writer.write(f"{answer}\n".encode())
            await writer.drain()
        writer.close()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        raw = b"".join([chunk async for chunk in _content(reader, _MOST_INPUT)])
        given = decode_input(raw)
        needs_source = self._take(given)
        if given.plan.context is not None and needs_source:
            writer.write(f"{_TREE}\n".encode())
            await writer.drain()
            await self._receive_source(reader)
        self.complete.set()
        return _DONE

    async def _receive_source(self, reader: asyncio.StreamReader) -> None:
        """Take the tree whole or not at all, whoever else sends it at the same time."""
        with TemporaryDirectory(dir=self._source.parent, ignore_cleanup_errors=True) as folder:
            archive, tree = Path(folder) / "received.tar.gz", Path(folder) / "source"
            with archive.open("wb") as file:
                async for chunk in _content(reader):
                    await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(unpack, archive, tree)
            if not self._source.exists():
                tree.rename(self._source)


async def relay(folder: Path, reader: BinaryIO, write: Callable[[bytes], None]) -> None:
    """Join a command's standard streams to the socket in `folder`; raises OSError."""
    answers, requests = await asyncio.open_unix_connection(folder / _SOCKET)

    async def forward() -> None:
        while chunk := await asyncio.to_thread(os.read, reader.fileno(), _CHUNK):
            requests.write(chunk)
            await requests.drain()

    forwarding = asyncio.create_task(forward())
    while answer := await answers.read(_CHUNK):
        write(answer)
    forwarding.cancel()


def pack(tree: Path, archive: Path) -> tuple[int, str]:
    """Write a tree of files as tar.gz; return its size in bytes and its SHA-256."""

    def ours(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.add(tree, arcname=".", filter=ours)
    with archive.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return archive.stat().st_size, digest


def unpack(archive: Path, tree: Path) -> None:
    """Unpack what `pack` has written, into a new folder; raises tarfile.TarError or OSError."""
    tree.mkdir(mode=0o755)
    with tarfile.open(archive, "r|gz") as tar:
        # It was made of a tree on disk, so that no name in it leads through a link. Modes and links
        # stay as they are, which the stricter filters would change.
        tar.extractall(tree, filter="fully_trusted")  # noqa: S202 - as above


def _head(size: int, digest: str) -> bytes:
    return json.dumps({"bytes": size, "sha256": digest}).encode() + b"\n"


async def _content(reader: asyncio.StreamReader, most: int | None = None) -> AsyncIterator[bytes]:
    """Yield the content that a head announces, and check it at the end; raises HandoverError."""
    try:
        head = json.loads(await reader.readline())
        left, wanted = int(head["bytes"]), str(head["sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise HandoverError("the input broke off") from error
    if most is not None and left > most:
        raise HandoverError(f"an input of {left} bytes is too large")
    digest = hashlib.sha256()
    while left:
        chunk = await reader.read(min(left, _CHUNK))
        if not chunk:
            raise HandoverError("the input broke off")
        left -= len(chunk)
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != wanted:
        raise HandoverError("the input was damaged on its way")
