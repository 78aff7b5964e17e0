"""Streams that take images from others, so that a change of one wakes those that follow it."""

from collections.abc import Iterable
from datetime import datetime

from upwell.api.image import ImageStream, ImageStreamStatus
from upwell.api.meta import ObjectKey
from upwell.controller import ObjectCache
from upwell.policy.access.people.import_requesters import requester_of
from upwell.policy.images.streams import StreamName, replace_tag
from upwell.policy.images.tracking import TrackingRefusal, sources_of, track, unknown_streams
from upwell.store.interface import NotFoundError

_MAX_ROUNDS = 64
"""Links of a chain from stream to stream that are looked along; a longer one is still followed."""


class TagTracking:
    """Follows tags from stream to stream."""

    def __init__(self, cache: ObjectCache) -> None:
        self._store = cache.store
        self._followers = cache.index(ImageStream, _source_streams)

    def affected(self, stream: ImageStream) -> Iterable[ObjectKey]:
        """Return the stream's own key and those of the streams that follow it."""
        followers = self._followers.get(StreamName(stream.namespace, stream.name))
        return (stream.key, *sorted({follower.key for follower in followers} - {stream.key}))

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


def _source_streams(stream: ImageStream) -> Iterable[StreamName]:
    return {source.stream for source in sources_of(stream)}


def take_sources(
    stream: ImageStream,
    status: ImageStreamStatus,
    streams: dict[StreamName, ImageStream | None],
    now: datetime,
    refusal: TrackingRefusal | None = None,
) -> ImageStreamStatus:
    """Return `status` with what the tags of `stream` take from `streams`.

    A `refusal` keeps them from following other namespaces.

    A tag may follow one of the same stream that follows a third: each is judged by what the others
    have become, until nothing changes.
    """
    own = StreamName(stream.namespace, stream.name)
    following = [tag for tag in stream.spec.tags if tag.copies]
    for _ in following:
        before = status
        current = stream.with_status(status)
        for tag in following:
            asked_by = requester_of(stream, tag)
            outcome = track(
                current, tag, {**streams, own: current}, now, refusal, asked_by=asked_by
            )
            if outcome is not None:
                history = outcome.fold_into(status.tag(outcome.tag), now)
                status = replace_tag(status, history)
                current = stream.with_status(status)
        if status == before:
            break
    return status
