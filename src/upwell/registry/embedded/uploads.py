"""Uploads in progress: bytes on disk that no digest has confirmed yet."""

import asyncio
import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.oci import Digest
from upwell.registry.embedded.files import make_directories, run_whole, storing, whole
from upwell.registry.embedded.usage import StorageUsage
from upwell.registry.embedded.writing import BlobWrites
from upwell.registry.errors import DigestMismatchError
from upwell.registry.hosting import (
    ContentTooLargeError,
    QuotaExceededError,
    StorageError,
    StorageFullError,
    StorageQuota,
    UploadBusyError,
    UploadOffsetError,
    UploadUnknownError,
)

_NAME = re.compile(r"[0-9a-f]{32}")
_MANY_PIECES = 16
"""Of one write, beyond which they are put together first."""


@dataclass(slots=True, eq=False)
class _Session:
    """One upload. `hasher` has seen all of the file, or is None: then the file is read again."""

    path: Path
    offset: int
    algorithm: str = "sha256"
    hasher: "hashlib._Hash | None" = field(default=None, repr=False)
    busy: bool = False

    def write(self, file: FileIO, chunks: Sequence[bytes]) -> None:
        for chunk in chunks if len(chunks) <= _MANY_PIECES else (b"".join(chunks),):
            rest = memoryview(chunk)
            while rest:
                written = file.write(rest)  # may be less than all, just before the disk is full
                if self.hasher is not None:
                    self.hasher.update(rest[:written])
                self.offset += written
                rest = rest[written:]

    def digest(self, algorithm: str) -> Digest:
        if self.hasher is not None and self.algorithm == algorithm:
            return Digest(algorithm, self.hasher.hexdigest())
        with self.path.open("rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())


class _WriteBehind:
    """Lets a thread write one batch while the next one arrives."""

    def __init__(self, repository: str, session: _Session, file: FileIO) -> None:
        self._repository = repository
        self._session = session
        self._file = file
        self._work: asyncio.Future[None] | None = None

    async def write(self, batch: Sequence[bytes]) -> None:
        await self.settle()
        self._work = asyncio.ensure_future(
            asyncio.to_thread(self._session.write, self._file, batch)
        )

    async def settle(self) -> None:
        """Wait until nothing is being written; raises the StorageError of the last write."""
        work, self._work = self._work, None
        try:
            if work is not None:
                with storing(self._repository):
                    await whole(work)
        finally:
            del work  # as in `whole`


class Uploads:
    """Uploads of all repositories under `root`; each survives a restart until it expires."""

    def __init__(
        self,
        root: Path,
        limit: int,
        usage: StorageUsage,
        pressure: PressureCheck = no_pressure,
    ) -> None:
        self._pressure = pressure
        self._root = root
        self._limit = limit
        self._usage = usage
        self._sessions: dict[Path, _Session] = {}
        self._writes = BlobWrites()

    async def start(
        self,
        repository: str,
        algorithm: str,
        owner: str = "",
        quota: StorageQuota | None = None,
    ) -> str:
        """Create an empty upload and return its name."""
        upload = uuid.uuid4().hex
        path = self._path(repository, upload)
        with storing(repository):
            await run_whole(self._create, repository, path, owner, quota)
        self._sessions[path] = _Session(path, 0, algorithm, hashlib.new(algorithm))
        return upload

    def offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        return self._session(repository, upload).offset

    async def append(
        self,
        repository: str,
        upload: str,
        body: AsyncIterator[bytes],
        start: int | None,
        quota: StorageQuota | None,
    ) -> int:
        """Write `body` at the end; see HostedRegistry.append."""
        with self._exclusive(repository, upload) as session:
            if start is not None and start != session.offset:
                raise UploadOffsetError(repository, upload, session.offset)
            try:
                await self._receive(repository, session, body, quota)
            except (StorageError, ContentTooLargeError, QuotaExceededError):
                self._discard(session)
                raise
            return session.offset

    @contextlib.contextmanager
    def sealing(self, repository: str, upload: str) -> Iterator["SealedUpload"]:
        """Hand out a complete upload; the upload is over when the block is left."""
        with self._exclusive(repository, upload) as session:
            try:
                yield SealedUpload(repository, session)
            finally:
                self._discard(session)

    def cancel(self, repository: str, upload: str) -> None:
        """Drop an upload."""
        with self._exclusive(repository, upload) as session:
            self._discard(session)

    def expire(self, before: float) -> int:
        """Drop the uploads that nothing was written to since the time `before`; return how many."""
        expired = 0
        for path in self._root.glob("*/*"):
            session = self._sessions.get(path)
            if session is not None and session.busy:
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    self._sessions.pop(path, None)
                    self._usage.end(path)
                    expired += 1
        self.remove_empty_folders()
        return expired

    def remove_empty_folders(self) -> None:
        """Remove the folders of repositories without an upload."""
        for folder in self._root.glob("*"):
            with contextlib.suppress(OSError):
                folder.rmdir()  # unless it holds uploads

    async def _receive(
        self,
        repository: str,
        session: _Session,
        body: AsyncIterator[bytes],
        quota: StorageQuota | None,
    ) -> None:
        received = session.offset
        with storing(repository):
            # Unbuffered: a failed write must not be tried again when the file is closed.
            file = FileIO(session.path, "ab")
        with file:
            behind = _WriteBehind(repository, session, file)
            try:
                async with contextlib.aclosing(self._writes.batches(body)) as batches:
                    async for batch in batches:
                        received += sum(map(len, batch))
                        if received > self._limit:
                            raise ContentTooLargeError(repository, self._limit)
                        if why := self._pressure():
                            raise StorageFullError(repository, why)
                        self._usage.grow(repository, session.path, received, quota)
                        await behind.write(batch)
            finally:
                await behind.settle()

    @contextlib.contextmanager
    def _exclusive(self, repository: str, upload: str) -> Iterator[_Session]:
        session = self._session(repository, upload)
        if session.busy:
            raise UploadBusyError(repository, upload)
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False

    def _session(self, repository: str, upload: str) -> _Session:
        if _NAME.fullmatch(upload) is None:
            raise UploadUnknownError(repository, upload)
        path = self._path(repository, upload)
        session = self._sessions.get(path)
        if session is None:
            try:
                session = _Session(path, path.stat().st_size)
            except FileNotFoundError:
                raise UploadUnknownError(repository, upload) from None
            self._sessions[path] = session
        return session

    def _create(self, repository: str, path: Path, owner: str, quota: StorageQuota | None) -> None:
        self._usage.begin(repository, path, owner)
        try:
            self._usage.grow(repository, path, 0, quota)
            _create(path)
        except BaseException:
            self._usage.end(path)
            raise

    def _discard(self, session: _Session) -> None:
        self._sessions.pop(session.path, None)
        session.path.unlink(missing_ok=True)
        self._usage.end(session.path)

    def _path(self, repository: str, upload: str) -> Path:
        # No repository name has a plus sign, so two never share a folder.
        return self._root / repository.replace("/", "+") / upload


class SealedUpload:
    """An upload that gets no more bytes."""

    def __init__(self, repository: str, session: _Session) -> None:
        self._repository = repository
        self._session = session

    def verified(self, digest: Digest) -> Path:
        """Return the file once its bytes are on disk and hash to `digest`; blocks.

        Raises DigestMismatchError.
        """
        actual = self._session.digest(digest.algorithm)
        if actual != digest:
            raise DigestMismatchError(self._repository, digest, actual)
        descriptor = os.open(self._session.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return self._session.path


def _create(path: Path) -> None:
    while True:
        make_directories(path.parent)
        try:
            return path.touch(exist_ok=False)
        except FileNotFoundError:
            continue  # the folder was empty just now, and has expired
