"""Bytes that each namespace has in uploads: those that are kept, and those under way.

Each content counts once for a namespace, in blocks of the disk, and again for another one that has
uploaded it. What is kept is taken from files, so that no count outlives what it counts: beside the
content, an empty file for each namespace that has it. Where replicas share what they have taken,
it is counted there.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path

from upwell.machine.clock import elapsed
from upwell.oci import Digest
from upwell.uploads.interface import (
    FindUploadQuota,
    SharedContents,
    UploadQuota,
    UploadQuotaError,
    no_upload_quota,
)

OWNERS = "of"
"""Folder beside the contents: NAMESPACE/CONTENT for each namespace that has one."""
_BLOCK = 4096
"""Bytes of a block: the least that an upload counts as."""
_SHARED_SECONDS = 10.0
"""For which a count of what replicas share holds, unless something is uploaded here."""


class UploadUsage:
    """Counts for several folders of uploads, whose namespaces' quota is one."""

    def __init__(
        self,
        find_quota: FindUploadQuota = no_upload_quota,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        """`clock` counts seconds."""
        self._find_quota = find_quota
        self._clock = clock
        self._counted: dict[str, float] = {}
        """By namespace, when what is kept was counted."""
        self._folders: dict[Path, SharedContents | None] = {}
        self._kept: dict[str, int] = {}
        """By namespace, as far as asked for; the lock is held by whoever changes files or it."""
        self._under_way: Counter[str] = Counter()
        self.lock = asyncio.Lock()

    def follow(self, folder: Path, shared: SharedContents | None = None) -> None:
        """Count what lies in a folder of uploads, or what replicas share in its place."""
        self._folders[folder] = shared

    async def used(self, namespace: str) -> int:
        """Return the bytes that a namespace has, at all replicas, and what is under way here.

        What other replicas have added or removed counts ten seconds later. Raises
        SharedContentError.
        """
        since = self._clock() - self._counted.get(namespace, 0.0)
        if self._is_shared and since >= _SHARED_SECONDS:
            self._kept.pop(namespace, None)
        return await self.counted(namespace)

    async def counted(self, namespace: str) -> int:
        """Return the bytes as they were counted last; raises SharedContentError."""
        if namespace not in self._kept:
            async with self.lock:
                self._kept[namespace] = await self._count(namespace)
                self._counted[namespace] = self._clock()
        return self._kept[namespace] + self._under_way[namespace]

    @contextlib.asynccontextmanager
    async def upload(self, namespace: str, *, limited: bool) -> AsyncIterator["OpenUpload"]:
        """Count an upload as long as the block lasts; `limited`: as a quota allows."""
        quota = await self._find_quota(namespace) if limited and namespace else None
        if self._is_shared:
            self._kept.pop(namespace, None)  # others may have taken some since
        opened = OpenUpload(self, namespace, quota)
        try:
            await opened.grow(0)
            yield opened
        finally:
            opened.end()

    def kept(self, namespace: str, size: int) -> None:
        """Count content that a namespace has had not before; whoever calls holds the lock."""
        if self._is_shared:
            self._kept.pop(namespace, None)  # another replica may have had it
        elif namespace in self._kept:
            self._kept[namespace] += charge(size)

    def forget(self) -> None:
        """Count anew, since files were removed; whoever calls holds the lock."""
        self._kept.clear()

    def move(self, namespace: str, number: int) -> None:
        """Count bytes under way: more, or fewer."""
        self._under_way[namespace] += number
        if not self._under_way[namespace]:
            del self._under_way[namespace]

    @property
    def _is_shared(self) -> bool:
        return any(shared is not None for shared in self._folders.values())

    async def _count(self, namespace: str) -> int:
        number = 0
        for folder, shared in self._folders.items():
            if shared is None:
                sizes = await asyncio.to_thread(_sizes, folder, namespace)
            else:
                kept = await shared.contents(namespace)
                sizes = {file_name(one.digest): one.size for one in kept}
            number += sum(map(charge, sizes.values()))
        return number


class OpenUpload:
    """An upload under way."""

    def __init__(self, usage: UploadUsage, namespace: str, quota: UploadQuota | None) -> None:
        self._usage = usage
        self._namespace = namespace
        self._quota = quota
        self._charged = 0

    async def grow(self, size: int) -> None:
        """Count what it is about to have; raises UploadQuotaError."""
        more = charge(size) - self._charged
        if not more or not self._namespace:
            return
        if self._quota is not None:
            used = await self._usage.counted(self._namespace)
            if used + more > self._quota.size:
                raise UploadQuotaError(self._namespace, self._quota, used, more)
        self._usage.move(self._namespace, more)
        self._charged += more

    def end(self) -> None:
        """Count it no more: it is kept, or gone."""
        if self._charged:
            self._usage.move(self._namespace, -self._charged)
            self._charged = 0


def charge(size: int) -> int:
    """Return the bytes that an upload of `size` bytes counts as."""
    return max(1, -(-size // _BLOCK)) * _BLOCK


def file_name(digest: Digest) -> str:
    """Return the name of the file with this content."""
    return str(digest).replace(":", "-")


def contents_of(folder: Path, namespace: str) -> Collection[str]:
    """Return the names of the contents that a namespace has in a folder of uploads."""
    owned = folder / OWNERS / namespace
    return [one.name for one in owned.iterdir()] if owned.is_dir() else ()


def owners_in(folder: Path) -> Iterator[Path]:
    """Yield the file of each namespace for each content that it has."""
    yield from (folder / OWNERS).glob("*/*")


def _sizes(folder: Path, namespace: str) -> dict[str, int]:
    found = {name: _size(folder / name) for name in contents_of(folder, namespace)}
    return {name: size for name, size in found.items() if size is not None}


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # removed meanwhile
        return None
