"""Pushes to this replica and, by looking at the indexes, to others, told to who listens."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from upwell.machine.clock import until_tick
from upwell.oci.replica_contents import is_replica_content
from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.indexes import IndexChange, RepositoryIndexes
from upwell.registry.hosting import StorageError
from upwell.registry.interface import PushEvent, PushListener

if TYPE_CHECKING:
    from upwell.oci import Digest
    from upwell.registry.bucket.partitions import PartitionedMap

ACTOR = "upwell"
LOOKS = 2.0
"""Seconds between two looks at what other replicas have pushed."""


def ignore(_: StorageError | None) -> None:
    """Report to nobody."""


class PushAnnouncements:
    """Listeners of one replica.

    What another replica has set is told by whoever reads it first: a look, or a client's request.
    """

    def __init__(self, indexes: RepositoryIndexes) -> None:
        self._indexes = indexes
        self._listeners: list[PushListener] = []
        self._seen: dict[str, PartitionedMap[str, tuple[Digest, float]]] = {}
        """Tags of the repositories, as they were read last."""
        self._has_looked = False
        indexes.watchers.append(self._changed)

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push."""
        self._listeners.append(listener)

    def announce(self, event: PushEvent) -> None:
        """Tell of a push to this replica, but of no image that is none."""
        if is_replica_content(event.repository):
            return
        for listener in self._listeners:
            listener(event)

    async def follow(
        self, report: Callable[[StorageError | None], None] = ignore, pause: float = LOOKS
    ) -> None:
        """Tell listeners of the tags that other replicas set, until it is cancelled.

        `report` is called after each look, with what it failed for; `pause` is in seconds.
        """
        while True:
            try:
                await self._look()
                report(None)
            except StorageError as error:
                report(error)
            await asyncio.sleep(until_tick(pause))

    async def _look(self) -> None:
        before = set(self._seen)
        found = set[str]()
        async for name, etag in self._indexes.names():
            found.add(name)
            await self._indexes.known(name, etag)
        self._has_looked = True
        for gone in before - found:
            self._seen.pop(gone, None)

    def _changed(self, change: IndexChange) -> None:
        name, index = change.repository, change.after
        before = self._seen.get(name)
        self._seen[name] = index.tags
        if change.is_own or (before is None and not self._has_looked):
            return
        for tag, was, now in index.tags.changes(before or RepositoryIndex().tags):
            known = index.manifests.get(now[0]) if now is not None else None
            if known is not None and (was is None or was[0] != known.entry.digest):
                digest, kind = known.entry.digest, known.entry.media_type
                self.announce(PushEvent(name, tag, digest, kind, ACTOR))
