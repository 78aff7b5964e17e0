"""Which streams take images from which, so that a change of one wakes those that follow it."""

from collections import defaultdict
from datetime import datetime

from upwell.api.image import ImageStream, ImageStreamStatus
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.images.streams import StreamName
from upwell.policy.images.tracking import sources_of, track, unknown_streams
from upwell.store.interface import NotFoundError, Store

_MAX_ROUNDS = 64
"""Links of a chain from stream to stream that are looked along; a longer one is still followed."""


class TagTracking:
    """Follows tags from stream to stream."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sources: dict[ObjectKey, frozenset[StreamName]] = {}
        self._followers: dict[StreamName, set[ObjectKey]] = defaultdict(set)

    async def affected(self, stream: Resource) -> tuple[ObjectKey, ...]:
        """Return the stream's own key and those of the streams that follow it: for a Watch."""
        if isinstance(stream, ImageStream):
            self._note(stream)
        name = StreamName(stream.namespace, stream.name)
        return (stream.key, *sorted(self._followers.get(name, set()) - {stream.key}))

    def forget(self, key: ObjectKey) -> None:
        """Drop what is known of a stream that is gone."""
        for source in self._sources.pop(key, frozenset()):
            self._followers[source].discard(key)

    async def sources(self, stream: ImageStream) -> dict[StreamName, ImageStream | None]:
        """Return every stream that decides what the tags of `stream` are, itself included."""
        known: dict[StreamName, ImageStream | None] = {
            StreamName(stream.namespace, stream.name): stream
        }
        for _ in range(_MAX_ROUNDS):
            wanted = unknown_streams(stream, known)
            if not wanted:
                break
            for name in wanted:
                known[name] = await self._find(name)
        return known

    async def _find(self, name: StreamName) -> ImageStream | None:
        try:
            return await self._store.get(ImageStream, name.namespace, name.name)
        except NotFoundError:
            return None

    def _note(self, stream: ImageStream) -> None:
        sources = frozenset(source.stream for source in sources_of(stream))
        before = self._sources.get(stream.key, frozenset())
        for source in before - sources:
            self._followers[source].discard(stream.key)
        for source in sources - before:
            self._followers[source].add(stream.key)
        self._sources[stream.key] = sources


def take_sources(
    stream: ImageStream,
    status: ImageStreamStatus,
    streams: dict[StreamName, ImageStream | None],
    now: datetime,
) -> ImageStreamStatus:
    """Return `status` with what the tags of `stream` take from `streams`.

    A tag may follow one of the same stream that follows a third: each is judged by what the others
    have become, until nothing changes.
    """
    own = StreamName(stream.namespace, stream.name)
    for _ in stream.spec.tags:
        before = status
        current = stream.with_status(status)
        for tag in stream.spec.tags:
            outcome = track(current, tag, {**streams, own: current}, now)
            if outcome is not None:
                status = outcome.fold_into(status, now)
                current = stream.with_status(status)
        if status == before:
            break
    return status
