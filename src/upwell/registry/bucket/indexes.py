"""Indexes of all repositories: read when they have changed, and changed by conditional writes."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from upwell.machine.backoff import Backoff
from upwell.registry.bucket.index import RepositoryIndex, decode, encode
from upwell.registry.hosting import StorageFullError
from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import BucketAnswerError, BucketUnavailableError, PreconditionError

MAX_INDEX_BYTES = 64 * 1024 * 1024
"""Of one repository: some 75,000 images of three layers, each with a tag."""
_ROOM = "remove tags (`upwell prune --confirm`), or push to another repository"
_CACHED_BYTES = 256 * 1024 * 1024
"""Of documents whose indexes are kept, as they are counted in the bucket."""
_TRIES = 30
"""Writes that may lose to others, one after another, before a change is given up."""
_BACKOFF = Backoff(first=0.02, longest=0.5)
"""Between two of them."""
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
    read_at: float
    write: str = ""


type IndexWatcher = Callable[[str, RepositoryIndex, RepositoryIndex], None]
"""Called with the name of a repository, and its index before and after a change, wherever made."""


class RepositoryIndexes:
    """Indexes of one bucket; every method raises a BucketError. `clock` gives seconds.

    `fence` is asked in the last moment before each write, and raises where none may be.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        fence: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bucket = bucket
        self._fence = fence
        self._clock = clock
        self._cached: OrderedDict[str, CachedIndex] = OrderedDict()
        self._size = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.watchers: list[IndexWatcher] = []

    async def read(self, name: str, *, age: float = 0.0) -> RepositoryIndex:
        """Return the index of a repository, at most `age` seconds old; empty for none."""
        known = self._cached.get(name)
        if known is not None and self._clock() - known.read_at < age:
            return known.index
        return (await self._refreshed(name)).index

    def last_read(self, name: str) -> RepositoryIndex | None:
        """Return the index of a repository as it was read last; None where none is kept."""
        known = self._cached.get(name)
        return None if known is None else known.index

    async def known(self, name: str, etag: str) -> RepositoryIndex:
        """Return the index of a repository that a listing says has this ETag."""
        known = self._cached.get(name)
        if known is not None and known.etag == etag:
            known.read_at = self._clock()
            return known.index
        return (await self._refreshed(name)).index

    async def change[T](self, name: str, change: Callable[[RepositoryIndex], T]) -> T:
        """Apply `change` to the index, and write it unless it is what it was; return its result.

        `change` is applied again to what another writer has made meanwhile, and may raise.
        """
        # One writer of this process at a time: they need not lose to one another.
        async with self._locks.setdefault(name, asyncio.Lock()):
            return await self._change(name, change)

    async def _change[T](self, name: str, change: Callable[[RepositoryIndex], T]) -> T:
        known = self._cached.get(name) or await self._refreshed(name)
        for attempt in range(1, _TRIES + 1):
            draft = known.index.copy()
            try:
                result = change(draft)
            except Exception:
                # It may have been refused for what is no longer so.
                fresh = await self._refreshed(name)
                if fresh.etag == known.etag:
                    raise
                known = fresh
                continue
            if draft == known.index:
                fresh = await self._refreshed(name)
                if fresh.etag == known.etag:
                    return result
                known = fresh
                continue
            write = uuid.uuid4().hex
            raw = await asyncio.to_thread(encode, draft, write)
            if len(raw) > MAX_INDEX_BYTES:
                mib = MAX_INDEX_BYTES // 1024**2
                why = f"its index would have more than {mib} MiB: {_ROOM}"
                raise StorageFullError(name, why)
            self._fence()
            try:
                etag = await self._bucket.put(key_of(name), raw, IfMatch(known.etag))
            except PreconditionError:
                known = await self._refreshed(name)
                if known.write == write:  # the answer to the first try was lost
                    return result
                await asyncio.sleep(_BACKOFF.delay(attempt))
                continue
            self._keep(name, CachedIndex(draft, etag, len(raw), self._clock(), write))
            return result
        raise BucketUnavailableError(
            self._bucket.name, f"{_TRIES} changes of {name} lost to others: push again"
        )

    async def names(self, beginning: str = "") -> AsyncIterator[tuple[str, str]]:
        """Yield the names of the repositories that begin so, each with the ETag of its index."""
        async for one in self._bucket.objects(f"{ROOT}{beginning}"):
            if one.key.endswith(NAME):
                yield one.key.removeprefix(ROOT).removesuffix(NAME), one.etag

    async def _refreshed(self, name: str) -> CachedIndex:
        known = self._cached.get(name)
        etag = known.etag if known is not None else None
        found = await self._bucket.get(key_of(name), MAX_INDEX_BYTES, etag or "")
        if known is not None and found is not None and found.etag == known.etag:
            known.read_at = self._clock()
            self._cached.setdefault(name, known)
            return known
        if found is None:
            read = CachedIndex(RepositoryIndex(), None, 0, self._clock())
        elif not found.etag:
            raise BucketAnswerError(self._bucket.name, f"the index of {name} has no ETag")
        else:
            where = f"{key_of(name)} of {self._bucket.name}"
            index, write = await asyncio.to_thread(decode, found.raw, where)
            read = CachedIndex(index, found.etag, len(found.raw), self._clock(), write)
        self._keep(name, read)
        return read

    def _keep(self, name: str, read: CachedIndex) -> None:
        before = self._cached.pop(name, None)
        self._size -= before.size if before is not None else 0
        self._cached[name] = read
        self._size += read.size
        old = before.index if before is not None else None
        while self._size > _CACHED_BYTES and len(self._cached) > 1:
            _, dropped = self._cached.popitem(last=False)
            self._size -= dropped.size
        if old is None or old != read.index:
            for watcher in self.watchers:
                watcher(name, old or RepositoryIndex(), read.index)


def key_of(name: str) -> str:
    """Return the key of the index of a repository."""
    return f"{ROOT}{name}{NAME}"
