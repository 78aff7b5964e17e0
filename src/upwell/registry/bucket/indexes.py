"""Indexes of all repositories: read when they have changed, and changed by conditional writes."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.machine.backoff import Backoff
from upwell.registry.bucket.content_tally import ContentTally
from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.index_changes import ChangeQueue, PendingChange, drafted
from upwell.registry.bucket.index_storage import IndexStorage, PartitionGoneError
from upwell.registry.hosting import StorageFullError
from upwell.registry.s3.client import IfMatch, S3Bucket, S3Object
from upwell.registry.s3.errors import BucketAnswerError, BucketUnavailableError, PreconditionError

MAX_INDEX_BYTES = 512 * 1024 * 1024
"""Of all documents of one repository: some 600,000 images of three layers, each with a tag."""
_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Of the one that names the others, or has everything."""
_ROOM = "remove images (`upwell prune --confirm`, `skopeo delete`), or push to another repository"
_CACHED_BYTES = 256 * 1024 * 1024
"""Of documents whose indexes are kept, as they are counted in the bucket."""
_TRIES = 30
"""Writes that may lose to others, one after another, before a change is given up."""
_BACKOFF = Backoff(first=0.02, longest=0.5)
"""Between two of them."""
_LATEST_LINK = 600.0
"""Seconds after which what was written for an index is written again, rather than linked: garbage
collection removes it an hour after it was written."""
_LEAST_COUNTED = 1024
"""Bytes for which any index that is kept counts."""
_TALLIED_IN_THREAD = 1000
"""Items of an index from which on they are counted beside the event loop."""
FRESH = 1.0
"""Seconds for which what an index is known to have is not asked for again."""
ROOT, NAME = "repositories/", "/_index"


@dataclass(slots=True)
class CachedIndex:
    """Index as it was read, or written here."""

    index: RepositoryIndex
    etag: str | None
    """None: there is none in the bucket."""
    size: int
    """Bytes of its documents."""
    read_at: float = 0.0
    """Seconds of the clock, before the bucket was asked."""
    write: str = ""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """Index of a repository as it was known, and as it has become, wherever it was changed."""

    repository: str
    before: RepositoryIndex | None
    """None: it was not known."""
    after: RepositoryIndex
    is_own: bool
    """This process has made the change."""
    tally: ContentTally | None = None
    """Of `after`, where much of it was not known before."""


type IndexWatcher = Callable[[IndexChange], None]


class RepositoryIndexes:
    """Indexes of one bucket; every method raises a BucketError.

    `clock` gives seconds from any origin, `wall_clock` since the epoch.

    `fence` is asked in the last moment before each write, in the context of everybody whose change
    it has, and raises where that one may write none.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        fence: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._storage = IndexStorage(bucket)
        self._fence = fence
        self._clock = clock
        self._wall_clock = wall_clock
        self._cached: OrderedDict[str, CachedIndex] = OrderedDict()
        self._size = 0
        self._changes = ChangeQueue(self._write)
        self.watchers: list[IndexWatcher] = []

    async def read(self, name: str, *, age: float = 0.0) -> RepositoryIndex:
        """Return the index of a repository, at most `age` seconds old; empty for none."""
        known = self._cached.get(name)
        if known is not None and self._clock() - known.read_at < age:
            return known.index
        return (await self._refreshed(name)).index

    async def known(self, name: str, etag: str) -> RepositoryIndex:
        """Return the index of a repository that a listing says has this ETag."""
        known = self._cached.get(name)
        if known is not None and known.etag == etag:
            known.read_at = self._clock()
            return known.index
        return (await self._refreshed(name)).index

    async def change[T](self, name: str, change: Callable[[RepositoryIndex], T]) -> T:
        """Apply `change` to the index, and write it unless it is what it was; return its result.

        `change` is applied again to what another writer has made meanwhile, and may raise. Changes
        of this process that wait for one another are written together.
        """
        return await self._changes.make(name, change)

    async def _write(self, name: str, changes: Sequence[PendingChange[Any]]) -> None:
        """Write what changes make of an index, and tell each what became of it."""
        known = self._cached.get(name) or await self._refreshed(name)
        for attempt in range(1, _TRIES + 1):
            draft, verdicts = await drafted(known.index, changes)
            if draft == known.index:
                fresh = await self._refreshed(name)
                if fresh.etag != known.etag:
                    known = fresh  # it may have been refused for what is no longer so
                    continue
                break
            write, began, asked_at = uuid.uuid4().hex, self._wall_clock(), self._clock()
            raw, size = await self._storage.write(draft, write)
            if size > max(MAX_INDEX_BYTES, known.size):
                self._storage.let_go(draft.stored() - known.index.stored())
                await self._write_alone(name, changes)
                return
            allowed = [one for one in changes if one.is_allowed(self._fence)]
            if len(allowed) < len(changes):
                self._storage.let_go(draft.stored() - known.index.stored())
                changes = allowed
                continue
            if abs(self._wall_clock() - began) > _LATEST_LINK:
                continue
            try:
                # What was refused or changes nothing is so, too, if the index is what it was.
                etag = await self._bucket.put(key_of(name), raw, IfMatch(known.etag))
            except PreconditionError:
                known = await self._refreshed(name)
                if known.write == write:  # the answer to the first try was lost
                    break
                # Who has won may have begun with what this process believes to have lost.
                self._storage.let_go(draft.stored() - known.index.stored())
                await asyncio.sleep(_BACKOFF.delay(attempt))
                continue
            self._storage.let_go(known.index.stored() - draft.stored())
            self._keep(name, CachedIndex(draft, etag, size, asked_at, write), is_own=True)
            break
        else:
            raise BucketUnavailableError(
                self._bucket.name, f"{_TRIES} changes of {name} lost to others: push again"
            )
        for one in verdicts:
            one.tell()

    async def _write_alone(self, name: str, changes: Sequence[PendingChange[Any]]) -> None:
        """Write changes that are too much together one by one; raises for one that is too much."""
        if len(changes) == 1:
            mib = MAX_INDEX_BYTES // 1024**2
            why = f"its index would have more than {mib} MiB: {_ROOM}"
            raise StorageFullError(name, why)
        for one in changes:
            try:
                await self._write(name, [one])
            except StorageFullError as error:
                one.fail(error)

    async def names(self, beginning: str = "") -> AsyncIterator[tuple[str, str]]:
        """Yield the names of the repositories that begin so, each with the ETag of its index."""
        async for one in self._bucket.objects(f"{ROOT}{beginning}"):
            if one.key.endswith(NAME):
                yield one.key.removeprefix(ROOT).removesuffix(NAME), one.etag

    async def _refreshed(self, name: str) -> CachedIndex:
        gone_of = None
        while True:
            known, asked_at = self._cached.get(name), self._clock()
            etag = known.etag if known is not None else None
            found = await self._bucket.get(key_of(name), _MAX_DOCUMENT_BYTES, etag or "")
            if known is not None and found is not None and found.etag == known.etag:
                known.read_at = asked_at
                return known
            try:
                read = await self._read(name, found, known)
            except PartitionGoneError:
                if found is None or found.etag == gone_of:
                    raise
                gone_of = found.etag  # another writer has replaced it meanwhile
                continue
            tally = None
            if known is None and len(read.index) > _TALLIED_IN_THREAD:
                tally = await asyncio.to_thread(ContentTally.of, read.index.links())
            latest = self._cached.get(name)
            if latest is not None and latest is not known and latest.read_at >= asked_at:
                return latest  # what was read here may be older
            read.read_at = asked_at
            self._keep(name, read, tally)
            return read

    async def _read(
        self, name: str, found: S3Object | None, known: CachedIndex | None
    ) -> CachedIndex:
        if found is None:
            return CachedIndex(RepositoryIndex(), None, 0)
        if not found.etag:
            raise BucketAnswerError(self._bucket.name, f"the index of {name} has no ETag")
        where = f"{key_of(name)} of {self._bucket.name}"
        before = known.index if known is not None else RepositoryIndex()
        index, write = await self._storage.read(found.raw, where, before)
        size = len(found.raw) + sum(one.size for one in index.partitions())
        return CachedIndex(index, found.etag, size, write=write)

    def _keep(
        self,
        name: str,
        read: CachedIndex,
        tally: ContentTally | None = None,
        *,
        is_own: bool = False,
    ) -> None:
        before = self._cached.pop(name, None)
        self._size -= max(before.size, _LEAST_COUNTED) if before is not None else 0
        self._cached[name] = read
        self._size += max(read.size, _LEAST_COUNTED)
        while self._size > _CACHED_BYTES and len(self._cached) > 1:
            _, dropped = self._cached.popitem(last=False)
            self._size -= max(dropped.size, _LEAST_COUNTED)
        if before is None or before.etag != read.etag:
            known = before.index if before is not None else None
            for watcher in self.watchers:
                watcher(IndexChange(name, known, read.index, is_own, tally))


def key_of(name: str) -> str:
    """Return the key of the index of a repository."""
    return f"{ROOT}{name}{NAME}"
