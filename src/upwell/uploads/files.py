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
    REMOVED,
    InputMissingError,
    InputTooLargeError,
    StoredInput,
    StoreFullError,
)
from upwell.uploads.usage import OWNERS, OpenUpload, UploadUsage, file_name, owners_in

DRAFT = ".upload"


class FileInputs:
    """Implements BinaryInputs. `clock` is in seconds, as files have their times."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
        pressure: PressureCheck = no_pressure,
        usage: UploadUsage | None = None,
        absent: str = REMOVED,
    ) -> None:
        """Open a folder.

        `usage` counts for namespaces, and asks their quotas; other folders may share it. `absent`
        says for people why content may be missing.
        """
        self._absent = absent
        self._usage = usage or UploadUsage()
        self._usage.follow(folder)
        self._pressure = pressure
        self._folder = folder
        self._limit = limit_bytes
        self._clock = clock

    async def recover(self) -> None:
        """Remove what a killed process was writing; nothing may be written yet."""
        await asyncio.to_thread(self._remove_drafts)

    async def save(
        self, pieces: AsyncIterator[bytes], namespace: str = "", *, limited: bool = True
    ) -> StoredInput:
        """Write a draft, then give it the name of its digest in one step."""
        self._require_room()
        with on_disk():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{token_hex(8)}{DRAFT}"
        try:
            async with self._usage.upload(namespace, limited=limited) as upload:
                with on_disk():
                    file = draft.open("xb")
                with file:
                    hashed, size = await self._write(file, pieces, upload)
                stored = StoredInput(Digest.parse(f"sha256:{hashed}"), size)
                await self._before_kept(draft, stored, namespace)
                with on_disk():
                    await self._keep(draft, self._file(stored.digest), namespace, size)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        return stored

    async def _before_kept(self, draft: Path, stored: StoredInput, namespace: str) -> None:
        """Do what must be done before an upload counts as kept; what it raises, leaves nothing."""

    async def used(self, namespace: str) -> int:
        """Return the bytes of a namespace in all folders that are counted together."""
        return await self._usage.used(namespace)

    async def path(self, digest: Digest, namespace: str = "") -> Path:
        """Return the file; raises InputMissingError."""
        if not await asyncio.to_thread(self._has, digest, namespace):
            raise InputMissingError(digest, self._absent)
        return self._file(digest)

    def _has(self, digest: Digest, namespace: str) -> bool:
        """Return True if content is here that was saved for a namespace, or for none.

        Whoever knows a digest has no right to its content: images name those of what they are of.
        """
        file = self._file(digest)
        if not file.is_file():
            return False
        if not namespace or (self._folder / OWNERS / namespace / file.name).exists():
            return True
        return not any((self._folder / OWNERS).glob(f"*/{file.name}"))

    async def remove_unused(
        self, keep: Collection[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> int:
        """Remove old files that `keep` does not name, drafts of killed uploads among them."""
        removed = await self._remove_files(keep, unused_for, dry_run=dry_run)
        return sum(removed.values())

    async def _remove_files(
        self, keep: Collection[Digest], unused_for: timedelta, *, dry_run: bool
    ) -> dict[str, int]:
        """Remove old files; return their bytes by their names."""
        kept = {file_name(digest) for digest in keep}
        seconds = unused_for.total_seconds()
        async with self._usage.lock:
            removed = await asyncio.to_thread(self._remove_unused, kept, seconds, dry_run=dry_run)
            self._usage.forget()
        return removed

    def _require_room(self) -> None:
        if why := self._pressure():
            raise StoreFullError(f"the upload is not taken now: {why}")

    async def _write(
        self, file: BinaryIO, pieces: AsyncIterator[bytes], upload: OpenUpload
    ) -> tuple[str, int]:
        hashed, size = hashlib.sha256(), 0
        async for piece in pieces:
            size += len(piece)
            if size > self._limit:
                raise InputTooLargeError(self._limit)
            await upload.grow(size)
            self._require_room()
            hashed.update(piece)
            with on_disk():
                await asyncio.to_thread(file.write, piece)
        with on_disk():
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return hashed.hexdigest(), size

    async def _keep(self, draft: Path, file: Path, namespace: str, size: int) -> None:
        async with self._usage.lock:
            if await asyncio.to_thread(self._publish, draft, file, namespace):
                self._usage.kept(namespace, size)

    def _publish(self, draft: Path, file: Path, namespace: str) -> bool:
        """Keep content; returns True if the namespace has had it not before."""
        # A removal counts from the last time that somebody uploaded this content.
        now = self._clock()
        is_new = False
        if namespace:
            owner = self._folder / OWNERS / namespace / file.name
            owner.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not (owner.exists() and file.exists())
            owner.touch(0o600)
            os.utime(owner, (now, now))
        draft.chmod(0o400)
        os.utime(draft, (now, now))
        draft.replace(file)
        return is_new

    def _remove_unused(
        self, kept: Collection[str], seconds: float, *, dry_run: bool
    ) -> dict[str, int]:
        freed: dict[str, int] = {}
        for owner in owners_in(self._folder):
            if not dry_run and self._is_unused(owner, kept, seconds) is not None:
                owner.unlink(missing_ok=True)
        for file in self._files():
            size = self._is_unused(file, kept, seconds)
            if size is not None:
                if not dry_run:
                    file.unlink(missing_ok=True)
                freed[file.name] = size
        return freed

    def _is_unused(self, file: Path, kept: Collection[str], seconds: float) -> int | None:
        """Return the size of a file that nobody needs; None: it is needed, or not there."""
        with contextlib.suppress(FileNotFoundError):
            facts = file.stat()
            if file.name not in kept and self._clock() - facts.st_mtime > seconds:
                return facts.st_size
        return None

    def _remove_drafts(self) -> None:
        for file in self._files():
            if file.name.endswith(DRAFT):
                file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (file for file in self._folder.iterdir() if file.name != OWNERS)

    def _file(self, digest: Digest) -> Path:
        return self._folder / file_name(digest)


@contextlib.contextmanager
def on_disk() -> Iterator[None]:
    """Turn a fault of the disk into StoreFullError; the sender's faults are its own."""
    try:
        yield
    except OSError as error:
        raise StoreFullError(f"the upload cannot be kept: {error.strerror}") from error
