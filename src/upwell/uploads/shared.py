"""Uploads that all replicas of a server share: files here are a cache of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import override
from weakref import WeakValueDictionary

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.machine.tasks import a_few_at_once
from upwell.oci import Digest
from upwell.uploads.files import DRAFT, FileInputs, on_disk
from upwell.uploads.interface import (
    DEFAULT_LIMIT_BYTES,
    SharedContent,
    SharedContentError,
    SharedContents,
    StoredInput,
    StoreFullError,
)
from upwell.uploads.usage import UploadUsage, file_name

_REMOVALS = 8
"""Contents that are removed at once."""
_SECONDS = 600.0
"""For one upload on its way to where replicas find it, or from there."""


class SharedInputs(FileInputs):
    """Implements BinaryInputs: what is saved here is in `shared` before it counts as kept.

    Its own files each replica removes, and what nobody needs from there the one that is told of
    namespaces by `shared`. `clock` is in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        shared: SharedContents,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
        pressure: PressureCheck = no_pressure,
        usage: UploadUsage | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        counted = usage or UploadUsage()
        super().__init__(
            folder, limit_bytes=limit_bytes, clock=clock, pressure=pressure, usage=counted
        )
        counted.follow(folder, shared)
        self._shared = shared
        self._seconds = seconds
        self._transfers: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    @override
    async def path(self, digest: Digest, namespace: str = "") -> Path:
        """Return the file, which is fetched if the namespace has it not here; two fetch it once."""
        async with self._transfers.setdefault(digest, asyncio.Lock()):
            if not await asyncio.to_thread(self._has, digest, namespace):
                await self._fetch(digest, namespace, self._file(digest))
        return self._file(digest)

    async def _fetch(self, digest: Digest, namespace: str, file: Path) -> None:
        if why := self._pressure():
            raise StoreFullError(f"the upload {digest} is not fetched now: {why}")
        with on_disk():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f"{token_hex(8)}{DRAFT}"
        try:
            async with self._bounded(f"upload {digest} has not come"):
                await self._shared.fetch(namespace, digest, draft, self._limit)
            with on_disk():
                await asyncio.to_thread(self._publish, draft, file, namespace)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    @override
    async def _before_kept(self, draft: Path, stored: StoredInput, namespace: str) -> None:
        content = SharedContent(stored.digest, stored.size, int(self._clock()))
        # One after the other: registries have refused one of two that bring the same at once.
        async with (
            self._bounded("the upload is not kept where all replicas find it"),
            self._transfers.setdefault(stored.digest, asyncio.Lock()),
        ):
            await self._shared.put(namespace, content, draft)

    @contextlib.asynccontextmanager
    async def _bounded(self, what: str) -> AsyncIterator[None]:
        deadline = asyncio.timeout(self._seconds)
        try:
            async with deadline:
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            why = f"{what} within {self._seconds:g} s: try again"
            raise SharedContentError(why, retryable=True) from error

    @override
    async def remove_unused(
        self, keep: Collection[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> int:
        """Remove old files here and, at the replica that cleans up, old content everywhere."""
        removed = await self._remove_files(keep, unused_for, dry_run=dry_run)
        shared = await self._remove_shared(frozenset(keep), unused_for, dry_run=dry_run)
        async with self._usage.lock:
            self._usage.forget()
        freed = sum({**removed, **shared.sizes}.values())
        if shared.fault is not None:
            shared.fault.freed_bytes = freed
            raise shared.fault
        return freed

    async def _remove_shared(
        self, keep: Collection[Digest], unused_for: timedelta, *, dry_run: bool
    ) -> "_RemovedShared":
        """Remove what was shared long ago and is not needed, in each namespace by itself."""
        before = self._clock() - unused_for.total_seconds()
        try:
            namespaces = await self._shared.cleaned_namespaces()
        except SharedContentError as error:
            return _RemovedShared({}, error)
        gone: dict[str, int] = {}
        left: set[str] = set()
        faults: list[SharedContentError] = []
        for namespace in namespaces:
            try:
                contents = await self._shared.contents(namespace)
            except SharedContentError as error:
                faults.append(error)
                continue
            removed: Collection[SharedContent] = _unneeded(contents, keep, before)
            if not dry_run:
                removed, fault = await self._remove_from(namespace, removed)
                faults += [fault] if fault else []
            gone |= {file_name(one.digest): one.size for one in removed}
            left |= {file_name(one.digest) for one in set(contents) - set(removed)}
        nowhere = {name: size for name, size in gone.items() if name not in left}
        return _RemovedShared(nowhere, next(iter(faults), None))

    async def _remove_from(
        self, namespace: str, old: Collection[SharedContent]
    ) -> tuple[Collection[SharedContent], SharedContentError | None]:
        """Remove content of a namespace until that fails; return what is gone, and the fault."""
        removed: list[SharedContent] = []

        async def remove(content: SharedContent) -> None:
            await self._shared.remove(namespace, content)
            removed.append(content)

        try:
            await a_few_at_once(map(remove, old), _REMOVALS)
        except SharedContentError as error:
            return removed, error
        return removed, None


@dataclass(frozen=True, slots=True)
class _RemovedShared:
    """Content that is nowhere any more."""

    sizes: Mapping[str, int]
    """Bytes by the name of its file."""
    fault: SharedContentError | None
    """The first that kept a namespace from being cleaned."""


def _unneeded(
    contents: Collection[SharedContent], keep: Collection[Digest], before: float
) -> Collection[SharedContent]:
    """Return what was saved before then (epoch), less the newest of each that is needed."""
    newest = {one.digest: one.saved for one in sorted(contents, key=lambda one: one.saved)}
    return [
        one
        for one in contents
        if one.saved < before and not (one.digest in keep and one.saved == newest[one.digest])
    ]
