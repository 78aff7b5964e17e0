"""Logs of containers that have ended and were started anew: the one before, for each container.

They lie in the instance's folder and go with it. Each line begins with its time, so that a reader
may ask for the lines since some moment.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from upwell.machine.tasks import closing
from upwell.workload.errors import NoPreviousLogError
from upwell.workload.interface import LogQuery
from upwell.workload.podman.containers.facts import parse_time

_log = logging.getLogger(__name__)

_MAX_BYTES = 16 * 1024 * 1024
"""As much as Podman keeps of a log."""
_PIECE_BYTES = 64 * 1024


class PreviousLogs:
    """Files `NAME/previous/CONTAINER.log` below the folder of all instances."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def keep(self, instance: str, container: str, log: AsyncIterator[bytes]) -> None:
        """Keep a log, whose lines have their times, in the place of the one before it.

        While the disk takes nothing, the log is lost: that keeps no instance from its start.
        """
        path = self._path(instance, container)
        draft = path.with_suffix(".new")
        try:
            await asyncio.to_thread(path.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
            await self._write(path, draft, log)
        except OSError as error:
            _log.warning("log not kept", extra={"instance": instance, "why": str(error)})
            with contextlib.suppress(OSError):
                await asyncio.to_thread(draft.unlink, missing_ok=True)

    async def _write(self, path: Path, draft: Path, log: AsyncIterator[bytes]) -> None:
        size = 0
        file = await asyncio.to_thread(draft.open, "wb")
        with file:
            async with closing(log):
                async for piece in log:
                    size += len(piece)
                    if size > _MAX_BYTES:
                        break
                    file.write(piece)
        await asyncio.to_thread(draft.replace, path)

    async def read(self, instance: str, container: str, wanted: LogQuery) -> AsyncIterator[bytes]:
        """Yield what is wanted of the log; raises NoPreviousLogError."""
        path = self._path(instance, container)
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except FileNotFoundError:
            raise NoPreviousLogError(
                f"container {container} of {instance} has not ended before: it has one log"
            ) from None
        with file:
            skip = await asyncio.to_thread(_number_before_tail, file, wanted)
            while lines := await asyncio.to_thread(file.readlines, _PIECE_BYTES):
                chosen = list(_wanted(lines, wanted))
                if piece := b"".join(chosen[skip:]):
                    yield piece
                skip = max(0, skip - len(chosen))

    def _path(self, instance: str, container: str) -> Path:
        return self._root / instance / "previous" / f"{container}.log"


def _number_before_tail(file: BinaryIO, wanted: LogQuery) -> int:
    """Return how many of the wanted lines come before the last ones; they are read again."""
    if wanted.tail is None:
        return 0
    count = sum(1 for _ in _wanted(file, wanted))
    file.seek(0)
    return max(0, count - wanted.tail)


def _wanted(lines: Iterable[bytes], wanted: LogQuery) -> Iterator[bytes]:
    if wanted.since is not None:
        since = wanted.since
        lines = (line for line in lines if _is_later(line, since))
    return (line if wanted.timestamps else line.partition(b" ")[2] for line in lines)


def _is_later(line: bytes, since: datetime) -> bool:
    try:
        moment = parse_time(line.partition(b" ")[0].decode(errors="replace"))
    except ValueError:
        return True  # the rest of a line that was written in parts
    return moment is None or moment >= since
