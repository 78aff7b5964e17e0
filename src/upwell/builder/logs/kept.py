"""Logs of ended builds that all replicas of a server share; files here are those that it wrote."""

import asyncio
import gzip
import logging
import shutil
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import override

from upwell.builder.logs.files import DEFAULT_MAX_BYTES, FileBuildLogs
from upwell.builder.logs.interface import KeptLogError, KeptLogs

log = logging.getLogger(__name__)

KEEP_SECONDS = 30.0
"""For one log on its way to where replicas find it, before the end of its build is written."""
_RETRY_SECONDS = 300.0
"""Until one is tried again that could not be kept, and others after it."""
_KEPT = ".kept"
_PIECE = 256 * 1024


class SharedBuildLogs(FileBuildLogs):
    """Implements BuildLogs: the log of an ended build is kept in `kept`, and read from there.

    `monotonic` gives seconds.
    """

    def __init__(
        self,
        folder: Path,
        kept: KeptLogs,
        max_bytes: int = DEFAULT_MAX_BYTES,
        *,
        absent: bytes = b"",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(folder, max_bytes, absent=absent)
        self._kept = kept
        self._monotonic = monotonic
        self._closed_until = 0.0

    @override
    async def keep(self, build_id: str, namespace: str, *, again: bool = False) -> float:
        """Keep the log; one that waits for another try, and is there by now, is left as it is."""
        path = self._path(build_id)
        marker = path.with_suffix(_KEPT)
        if not path.exists() or (again and marker.exists()):
            return 0
        wait = self._closed_until - self._monotonic()
        if wait > 0:
            return wait
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                # Another replica, which led at the build's end, may have kept the whole of it.
                if not (again and await self._kept.has(namespace, build_id)):
                    await self._put(build_id, namespace, path)
        except (KeptLogError, TimeoutError) as error:
            why = str(error) or f"it takes over {KEEP_SECONDS:g} s"
            # Tried again in any case: what lasts ends when somebody grants or raises something.
            passes = isinstance(error, TimeoutError) or error.retryable
            level = logging.WARNING if passes else logging.ERROR
            told = "log of a build not kept yet" if passes else "log of a build cannot be kept"
            log.log(level, told, extra={"build": build_id, "why": why})
            self._closed_until = self._monotonic() + _RETRY_SECONDS
            return _RETRY_SECONDS
        marker.touch(0o600)
        return 0

    async def _put(self, build_id: str, namespace: str, path: Path) -> None:
        with TemporaryDirectory(prefix="upwell-log-") as folder:
            packed = Path(folder) / "log.gz"
            await asyncio.to_thread(_pack, path, packed)
            await self._kept.put(namespace, build_id, packed)

    @override
    async def read(
        self, build_id: str, namespace: str = "", *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the log: what is written here, else what is kept, else what was written here."""
        path = self._path(build_id)
        is_here = build_id in self._writers or path.with_suffix(_KEPT).exists()
        if not is_here:
            seen = False
            try:
                async with self._kept.open(namespace, build_id) as packed:
                    if packed is not None:
                        async for piece in _unpacked(packed, self._max_bytes):
                            seen = True
                            yield piece
                        return
            except KeptLogError as error:
                if seen or not path.exists():
                    yield f"\n[the log cannot be read to its end: {error}]\n".encode()
                    return
        async for piece in super().read(build_id, namespace, follow=follow):
            yield piece

    @override
    def remove(self, build_id: str) -> bool:
        """Delete the log here; what replicas share of it the leader cleans up."""
        removed = super().remove(build_id)
        self._path(build_id).with_suffix(_KEPT).unlink(missing_ok=True)
        return removed


def _pack(source: Path, target: Path) -> None:
    """Compress a file, the same in every second."""
    with (
        source.open("rb") as plain,
        target.open("xb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed)


async def _unpacked(packed: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield what is compressed, piece by piece, and no more than a log may have, and its note."""
    unpacking, left = zlib.decompressobj(zlib.MAX_WBITS | 16), limit + 1024
    async for piece in packed:
        rest = piece
        while rest and left > 0 and not unpacking.eof:
            try:
                plain = unpacking.decompress(rest, min(_PIECE, left))
            except zlib.error as error:
                raise KeptLogError(f"it is damaged: {error}") from error
            rest = unpacking.unconsumed_tail
            left -= len(plain)
            if plain:
                yield plain
        if left <= 0:
            return
