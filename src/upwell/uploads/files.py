"""Uploads as files in one folder, each under its digest."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.oci import Digest
from upwell.uploads.interface import (
    DEFAULT_LIMIT_BYTES,
    InputMissingError,
    InputTooLargeError,
    StoredInput,
    StoreFullError,
)

_DRAFT = ".upload"


class FileInputs:
    """Implements BinaryInputs. `clock` is in seconds, as files have their times."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
        pressure: PressureCheck = no_pressure,
    ) -> None:
        self._pressure = pressure
        self._folder = folder
        self._limit = limit_bytes
        self._clock = clock

    async def save(self, pieces: AsyncIterator[bytes]) -> StoredInput:
        """Write a draft, then give it the name of its digest in one step."""
        if why := self._pressure():
            raise StoreFullError(f"the upload is not taken now: {why}")
        with _on_disk():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{token_hex(8)}{_DRAFT}"
        try:
            with _on_disk():
                file = draft.open("xb")
            with file:
                hashed, size = await self._write(file, pieces)
            digest = Digest.parse(f"sha256:{hashed}")
            with _on_disk():
                await asyncio.to_thread(self._publish, draft, self._file(digest))
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        return StoredInput(digest, size)

    async def path(self, digest: Digest) -> Path:
        """Return the file; raises InputMissingError."""
        file = self._file(digest)
        if not await asyncio.to_thread(file.is_file):
            raise InputMissingError(digest)
        return file

    async def remove_unused(
        self, keep: Collection[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> int:
        """Remove old files that `keep` does not name, drafts of killed uploads among them."""
        kept = {self._file(digest).name for digest in keep}
        seconds = unused_for.total_seconds()
        return await asyncio.to_thread(self._remove_unused, kept, seconds, dry_run=dry_run)

    async def _write(self, file: BinaryIO, pieces: AsyncIterator[bytes]) -> tuple[str, int]:
        hashed, size = hashlib.sha256(), 0
        async for piece in pieces:
            size += len(piece)
            if size > self._limit:
                raise InputTooLargeError(self._limit)
            hashed.update(piece)
            with _on_disk():
                await asyncio.to_thread(file.write, piece)
        with _on_disk():
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return hashed.hexdigest(), size

    def _publish(self, draft: Path, file: Path) -> None:
        draft.chmod(0o400)
        draft.replace(file)
        # A removal counts from the last time that somebody uploaded this content.
        now = self._clock()
        os.utime(file, (now, now))

    def _remove_unused(self, kept: Collection[str], seconds: float, *, dry_run: bool) -> int:
        freed = 0
        if not self._folder.is_dir():
            return freed
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                if file.name not in kept and self._clock() - facts.st_mtime > seconds:
                    if not dry_run:
                        file.unlink()
                    freed += facts.st_size
        return freed

    def _file(self, digest: Digest) -> Path:
        return self._folder / str(digest).replace(":", "-")


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Turn a fault of the disk into StoreFullError; the sender's faults are its own."""
    try:
        yield
    except OSError as error:
        raise StoreFullError(f"the upload cannot be kept: {error.strerror}") from error
