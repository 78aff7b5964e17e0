"""Pushes to this replica and, by looking at the indexes, to others, told to who listens."""

import asyncio
from collections.abc import Callable, Mapping

from upwell.machine.clock import until_tick
from upwell.oci import Digest
from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.indexes import RepositoryIndexes
from upwell.registry.hosting import StorageError
from upwell.registry.interface import PushEvent, PushListener

ACTOR = "upwell"
LOOKS = 2.0
"""Seconds between two looks at what other replicas have pushed."""


def ignore(_: StorageError | None) -> None:
    """Report to nobody."""


class PushAnnouncements:
    """Listeners of one replica."""

    def __init__(self, indexes: RepositoryIndexes) -> None:
        self._indexes = indexes
        self._listeners: list[PushListener] = []

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push."""
        self._listeners.append(listener)

    def announce(self, event: PushEvent) -> None:
        """Tell of a push to this replica."""
        for listener in self._listeners:
            listener(event)

    async def follow(
        self, report: Callable[[StorageError | None], None] = ignore, pause: float = LOOKS
    ) -> None:
        """Tell listeners of the tags that other replicas set, until it is cancelled.

        `report` is called after each look, with what it failed for; `pause` is in seconds.
        """
        seen: dict[str, str] = {}
        tags: dict[str, dict[str, Digest]] = {}
        is_first = True
        while True:
            try:
                async for name, etag in self._indexes.names():
                    if seen.get(name) != etag:
                        before = self._read_before(name) if is_first else tags.get(name, {})
                        index = await self._indexes.known(name, etag)
                        now = index.named()
                        if before is not None:
                            self._announce_changes(name, before, now, index)
                        seen[name], tags[name] = etag, now
                is_first = False
                report(None)
            except StorageError as error:
                report(error)
            await asyncio.sleep(until_tick(pause))

    def _read_before(self, name: str) -> dict[str, Digest] | None:
        """Return the tags that somebody here read before the first look; None: nobody has."""
        read = self._indexes.last_read(name)
        return None if read is None else read.named()

    def _announce_changes(
        self,
        name: str,
        before: Mapping[str, Digest],
        now: Mapping[str, Digest],
        index: RepositoryIndex,
    ) -> None:
        for tag, digest in now.items():
            known = index.manifests.get(digest)
            if before.get(tag) != digest and known is not None:
                kind = known.entry.media_type
                self.announce(PushEvent(name, tag, digest, kind, ACTOR))
