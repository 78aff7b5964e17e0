"""A store in this process: all objects in memory, every change through a journal first.

Reads never leave memory, so they neither wait nor block: objects are immutable and shared. A
write is decided at once against the newest state, staged, and answered when its journal entry is
durable; only then do reads and watches see it. Writes that arrive while the journal is busy go
into its next batch, so that one flush to disk serves them all.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Protocol, cast

from upwell.api.codec import encode_json
from upwell.api.core import Namespace
from upwell.api.meta import ObjectKey, Resource
from upwell.store import semantics
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import (
    EVERYTHING,
    AlreadyExistsError,
    Change,
    ExpiredError,
    Listing,
    NotFoundError,
    Selector,
    StoreError,
    UnavailableError,
    WatchEvent,
    WatchProgress,
)
from upwell.store.stored_objects import StoredObjects

type Clock = Callable[[], datetime]

HISTORY_LIMIT = 4096
"""Changes that a watch may be behind before it has to list again."""

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own choice: no vowels, so no words, and nothing that looks like another."""


class Journal(Protocol):
    """Makes changes durable."""

    async def append(self, records: Sequence[ChangeRecord], forgotten: int) -> None:
        """Keep all of `records` or none; raises UnavailableError.

        Changes up to version `forgotten` need not be kept any longer.
        """
        ...


class LocalStore:
    """The store port over a Journal; one process, one event loop."""

    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        history: History,
        resources: Iterable[Resource] = (),
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._history = history
        self._objects = StoredObjects(resources)
        self._version = history.newest
        self._staged: dict[ObjectKey, ChangeRecord] = {}
        self._batch: list[ChangeRecord] = []
        self._batch_done: asyncio.Future[None] | None = None
        self._in_flight: asyncio.Future[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._emptying: set[ObjectKey] = set()
        """Namespaces from which the write that is decided removes objects."""
        self._closed = False
        self._watches: Counter[str] = Counter()

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        key = ObjectKey(kind.KIND.kind, namespace, name)
        found = self._objects.get(key)
        if found is None:
            raise NotFoundError(key)
        return cast("R", found)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match, by namespace and name."""
        found = self._objects.matching(kind, selector)
        return Listing(found, str(self._history.newest))

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises AlreadyExistsError or RejectedError."""
        return await self._write(lambda: self._create(resource))

    async def restore(self, resources: Sequence[Resource]) -> None:
        """Store objects as they were elsewhere, with their uids, times, generations and statuses.

        All of them or none. Raises AlreadyExistsError.
        """

        def change() -> None:
            for one in resources:
                if self._find(one.key) is not None:
                    raise AlreadyExistsError(one.key)
            for one in resources:
                self._stage(Change.ADDED, semantics.restored(one), None)

        await self._write(change)

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError or ConflictError."""

        def change() -> R:
            stored = cast("R", self._current(resource.key))
            return self._replace(stored, semantics.updated(stored, resource))

        return await self._write(change)

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError, ConflictError or RejectedError."""

        def change() -> R:
            stored = cast("R", self._current(resource.key))
            return self._replace(stored, semantics.with_new_status(stored, resource))

        return await self._write(change)

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object and those it owns; raises NotFoundError or ConflictError."""

        def change() -> None:
            stored = self._current(ObjectKey(kind.KIND.kind, namespace, name))
            semantics.require_version(stored, resource_version)
            self._delete(stored)

        await self._write(change)

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError.

        `Resource` itself stands for every kind: with `since`, changes of all in their order.
        """
        if since and not semantics.is_version(since):
            raise ExpiredError(since)
        # No await between the list and the position, so nothing falls between them.
        listed = () if since else (await self.list(kind, selector)).items
        position = int(since) if since else self._history.newest
        self._watches[kind.__name__] += 1
        try:
            for resource in listed:
                yield WatchEvent(Change.ADDED, resource)
            async for record in self._history.follow(position, kind, progress=progress):
                event = record.seen_by(kind, selector)
                if event is not None:
                    yield event
        finally:
            self._watches[kind.__name__] -= 1

    @property
    def watches(self) -> Mapping[str, int]:
        """Numbers of open watches, by kind."""
        return +self._watches

    @property
    def is_closed(self) -> bool:
        """True if `close` was called."""
        return self._closed

    async def close(self) -> None:
        """Finish the writes that are under way and refuse further ones."""
        self._closed = True
        if self._flushing is not None:
            await asyncio.shield(self._flushing)

    async def _write[T](self, change: Callable[[], T]) -> T:
        """Run `change`, and answer when all that its verdict rests on is durable."""
        if self._closed:
            raise UnavailableError("the store is closed")
        try:
            result = change()
        except StoreError:
            await self._settled()
            raise
        await self._settled()
        return result

    async def _settled(self) -> None:
        newest = self._batch_done or self._in_flight
        if newest is not None:
            # Shielded: one caller's cancellation must not reach the others of its batch.
            await asyncio.shield(newest)

    def _create[R: Resource](self, resource: R) -> R:
        name = resource.name or self._generate_name(resource)
        birth = semantics.Birth(str(uuid.uuid4()), name, self._clock())
        fresh = semantics.created(resource, birth)
        if self._find(fresh.key) is not None:
            raise AlreadyExistsError(fresh.key)
        return self._stage(Change.ADDED, fresh, None)

    def _generate_name(self, resource: Resource) -> str:
        prefix = resource.metadata.generate_name
        while prefix:
            name = prefix + "".join(random.choices(_NAME_LETTERS, k=5))  # noqa: S311 - no secret
            if self._find(ObjectKey(resource.KIND.kind, resource.namespace, name)) is None:
                return name
        return ""

    def _replace[R: Resource](self, stored: R, wanted: R) -> R:
        if wanted is stored:
            return stored
        if semantics.is_finished(wanted) and self._emptied(wanted):
            return self._remove(wanted, stored)
        return self._stage(Change.MODIFIED, wanted, stored)

    def _delete(self, stored: Resource) -> None:
        marked = semantics.marked_for_deletion(stored, self._clock())
        if self._emptied(stored) and semantics.is_finished(marked):
            self._remove(stored, stored)
        elif marked is not stored:
            self._stage(Change.MODIFIED, marked, stored)

    def _remove[R: Resource](self, last: R, stored: R) -> R:
        removed = self._stage(Change.DELETED, last, stored)
        self._delete_each(self._children(removed))
        home = self._find(ObjectKey(Namespace.KIND.kind, "", removed.namespace))
        if home is not None and home.is_deleting and home.key not in self._emptying:
            self._go_on_with(home)
        return removed

    def _emptied(self, resource: Resource) -> bool:
        """Delete what is in a Namespace, and return True if nothing holds it up any more.

        What has finalizers stays in it for now; the removal of the last ends the Namespace too.
        """
        if not isinstance(resource, Namespace):
            return True
        self._emptying.add(resource.key)  # what is removed from it now need not ask again
        try:
            self._delete_each(self._inside(resource))
        finally:
            self._emptying.discard(resource.key)
        return not any(self._inside(resource))

    def _go_on_with(self, namespace: Resource) -> None:
        """End a Namespace that is being deleted, unless something in it is still ending."""
        if not any(one.is_deleting for one in self._inside(namespace)):
            self._delete(namespace)

    def _delete_each(self, resources: Iterable[Resource]) -> None:
        for one in list(resources):
            if self._find(one.key) is not None:  # else an earlier one took it along
                self._delete(one)

    def _inside(self, namespace: Resource) -> Iterator[Resource]:
        """Yield what is in a Namespace, in the newest state."""
        stored = (one.key for one in self._objects.in_namespace(namespace.name))
        for key in chain(stored, list(self._staged)):
            if key.namespace == namespace.name and (found := self._find(key)) is not None:
                yield found

    def _children(self, owner: Resource) -> Iterator[Resource]:
        """Yield what lived by `owner` alone, in the newest state."""
        for key in {*self._objects.owned_by(owner.uid), *self._staged}:
            resource = self._find(key)
            if resource is None:
                continue
            uids = set(semantics.owner_uids(resource))
            others = uids - {owner.uid}
            if owner.uid in uids and not any(self._exists(uid) for uid in others):
                yield resource

    def _exists(self, uid: str) -> bool:
        stored = any(
            resource.uid == uid and self._find(resource.key) is not None
            for resource in self._objects
        )
        return stored or any(
            record.resource.uid == uid and record.change is not Change.DELETED
            for record in self._staged.values()
        )

    def _find(self, key: ObjectKey) -> Resource | None:
        record = self._staged.get(key)
        if record is None:
            return self._objects.get(key)
        return None if record.change is Change.DELETED else record.resource

    def _current(self, key: ObjectKey) -> Resource:
        found = self._find(key)
        if found is None:
            raise NotFoundError(key)
        return found

    def _stage[R: Resource](self, change: Change, resource: R, previous: Resource | None) -> R:
        version = self._version + 1
        numbered = resource.with_metadata(resource_version=str(version))
        labels = None if previous is None else previous.metadata.labels
        record = ChangeRecord(version, change, numbered, labels, encode_json(numbered))
        self._version = version
        self._staged[numbered.key] = record
        self._batch.append(record)
        if self._batch_done is None:
            self._batch_done = asyncio.get_running_loop().create_future()
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="store:flush")
        return numbered

    async def _flush(self) -> None:
        """Journal batch after batch until nothing is staged; ends then."""
        try:
            while self._batch_done is not None:
                records, done = self._batch, self._batch_done
                self._batch, self._batch_done, self._in_flight = [], None, done
                try:
                    await self._journal.append(records, self._history.forgotten)
                except Exception as error:  # noqa: BLE001 - whoever waits for the batch must hear it
                    self._abandon(done, error)
                else:
                    self._publish(records)
                    done.set_result(None)
        finally:
            self._flushing = self._in_flight = None

    def _publish(self, records: Sequence[ChangeRecord]) -> None:
        for record in records:
            self._objects.apply(record)
            if self._staged.get(record.resource.key) is record:
                del self._staged[record.resource.key]
        self._history.publish(records)

    def _abandon(self, done: asyncio.Future[None], error: Exception) -> None:
        """Forget everything staged: what came after the failed batch was decided upon it."""
        later = self._batch_done
        self._staged.clear()
        self._batch, self._batch_done = [], None
        self._version = self._history.newest  # nobody has seen the numbers that were given since
        for waiting in (done, later):
            if waiting is not None:
                waiting.set_exception(error)
                waiting.exception()  # read here: a cancelled caller leaves nobody to read it
