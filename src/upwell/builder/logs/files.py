"""Keeps the logs of builds as files: one per build, limited in size, followed without polling."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from upwell.machine.process import LogSink

DEFAULT_MAX_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_TAIL_BYTES = 64 * 1024
_BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class StoredLog:
    """A log on disk; `size` in bytes, `written` in UTC."""

    build_id: str
    size: int
    written: datetime


@dataclass(slots=True)
class _Writer:
    """The one writer of a log in this process, and those who wait for more."""

    file: BinaryIO
    written: int
    full: bool = False
    grown: set[asyncio.Event] = field(default_factory=set)


class FileBuildLogs:
    """BuildLogs in `folder`; a log is open only while a sink of this process writes it.

    So a log that a killed process left is complete: its followers end. `absent` is read in place
    of a log that is not in the folder.
    """

    def __init__(
        self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES, *, absent: bytes = b""
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._absent = absent
        self._writers: dict[str, _Writer] = {}

    def sink(self, build_id: str) -> LogSink:
        """Return a sink that appends; past `max_bytes` it drops and says so once."""
        path = self._path(build_id)
        if build_id not in self._writers:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = path.open("ab", buffering=0)
            self._writers[build_id] = _Writer(file, path.stat().st_size)
        writer = self._writers[build_id]
        return lambda piece: self._append(writer, piece)

    def close(self, build_id: str) -> None:
        """Mark the log complete; idempotent."""
        if writer := self._writers.pop(build_id, None):
            writer.file.close()
            _wake(writer)

    def close_all(self) -> None:
        """Mark every open log complete: at shutdown, when no build runs any more."""
        for build_id in list(self._writers):
            self.close(build_id)

    async def keep(self, build_id: str, namespace: str, *, again: bool = False) -> float:
        """Do nothing: the file is all that there is."""
        del build_id, namespace, again
        return 0

    async def read(
        self, build_id: str, namespace: str = "", *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the log; a build without one has an empty log, or what is said in its place."""
        del namespace
        path, at = self._path(build_id), 0
        writer = self._writers.get(build_id) if follow else None
        with _listening(writer) as grown:
            while True:
                grown.clear()
                for piece in _pieces(path, at):
                    at += len(piece)
                    yield piece
                if writer is None or writer.file.closed:
                    break
                await grown.wait()
        for piece in _pieces(path, at):  # what was written between the last read and the close
            at += len(piece)
            yield piece
        if not at and self._absent and not path.exists():
            yield self._absent

    def tail(self, build_id: str, lines: int) -> str:
        """Return the last lines, of at most 64 KiB."""
        try:
            with self._path(build_id).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""

    def remove(self, build_id: str) -> bool:
        """Delete the log; its followers end. False: there was none."""
        self.close(build_id)
        try:
            self._path(build_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def stored(self) -> list[StoredLog]:
        """List the logs that nobody writes."""
        found = []
        for path in sorted(self._folder.glob("*.log")):
            with suppress(FileNotFoundError):
                facts = path.stat()
                written = datetime.fromtimestamp(facts.st_mtime, UTC)
                found.append(StoredLog(path.stem, facts.st_size, written))
        return [log for log in found if log.build_id not in self._writers]

    def _path(self, build_id: str) -> Path:
        if _BUILD_ID.fullmatch(build_id) is None:
            raise ValueError(f"not a build id: {build_id!r}")
        return self._folder / f"{build_id}.log"

    def _append(self, writer: _Writer, piece: bytes) -> None:
        if writer.full or writer.file.closed:
            return
        room = self._max_bytes - writer.written
        if len(piece) > room:
            writer.full = True
            piece = piece[:room] + b"\n[log limit reached: the rest is left out]\n"
        try:
            writer.file.write(piece)
        except OSError:
            writer.full = True  # a full disk must not fail the build that is being logged
        writer.written += len(piece)
        _wake(writer)


def _wake(writer: _Writer) -> None:
    for event in writer.grown:
        event.set()


@contextmanager
def _listening(writer: _Writer | None) -> Iterator[asyncio.Event]:
    grown = asyncio.Event()
    if writer is not None:
        writer.grown.add(grown)
    try:
        yield grown
    finally:
        if writer is not None:
            writer.grown.discard(grown)


def _pieces(path: Path, at: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(at)
            while piece := file.read(_CHUNK):
                yield piece
    except FileNotFoundError:
        return
