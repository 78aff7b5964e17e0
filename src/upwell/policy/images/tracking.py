"""Tags that take their image from a stream, or name one that is never imported.

A tag that names a tag follows it, in its own stream and in any other; one that names an image of a
stream stays with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, ImportState, TagEvent, TagReference
from upwell.api.values.author import people_text
from upwell.policy.images.outcome import TagOutcome, failure
from upwell.policy.images.streams import StreamName, StreamTag

IMAGE_STREAM_IMAGE = "ImageStreamImage"

type Streams = Mapping[StreamName, ImageStream | None]
"""The streams that were looked up; None for one that does not exist."""


type TrackingRefusal = tuple[str, str]
"""Reason and message of why a stream may follow no other namespace now."""


@dataclass(frozen=True, slots=True)
class TagSource:
    """A tag or an image of a stream; `digest` is empty where a tag is named."""

    stream: StreamName
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        where = f"{self.stream.namespace}/{self.stream.name}"
        return f"{where}@{self.digest}" if self.digest else f"{where}:{self.tag}"


def source_of(stream: ImageStream, tag: TagReference) -> TagSource | None:
    """Return what of which stream the tag names; None when it names none.

    The forms are `TAG`, `STREAM:TAG`, `ID` and `STREAM@ID` (image/v1 TagReference.from).
    """
    if tag.from_ is None or tag.from_.kind not in {IMAGE_STREAM_TAG, IMAGE_STREAM_IMAGE}:
        return None
    namespace, name = tag.from_.namespace or stream.namespace, tag.from_.name
    if tag.from_.kind == IMAGE_STREAM_IMAGE:
        other, at, digest = name.partition("@")
        named = StreamName(namespace, other if at else stream.name)
        return TagSource(named, digest=digest if at else name)
    source = StreamTag.source_in(stream, tag.from_)
    return TagSource(source.stream_name, tag=source.tag)


def sources_of(stream: ImageStream) -> Iterator[TagSource]:
    """Yield all that the stream's tags name of streams."""
    for tag in stream.spec.tags:
        source = source_of(stream, tag)
        if source is not None:
            yield source


def follows_other_namespaces(stream: ImageStream) -> bool:
    """Return True if a tag of the stream names one of another namespace."""
    return any(source.stream.namespace != stream.namespace for source in sources_of(stream))


def unknown_streams(stream: ImageStream, known: Streams) -> set[StreamName]:
    """Return the streams that must be looked up as well before `track` can judge.

    Those are the sources of the stream's tags, and the sources of these, to find cycles.
    """
    wanted: set[StreamName] = set()
    seen: set[TagSource] = set()
    waiting = list(sources_of(stream))
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if source.stream not in known:
            wanted.add(source.stream)
        following = _source_of_tag(source, known)
        if following is not None:
            waiting.append(following)
    return wanted


def track(
    stream: ImageStream,
    tag: TagReference,
    streams: Streams,
    now: datetime,
    refusal: TrackingRefusal | None = None,
    *,
    asked_by: str = "",
) -> TagOutcome | None:
    """Return what the tag's source makes of it now; None when nothing is to be written.

    `streams` has the stream itself and all that `unknown_streams` asked for. A `refusal` keeps tags
    from following other namespaces: they stay at what they have. `asked_by` are the people who have
    named the source, one a line.
    """
    if not tag.copies or tag.from_ is None:
        return None
    source = source_of(stream, tag)
    history = stream.status.tag(tag.name)
    text = f"{tag.from_.kind} {source or tag.from_.name}"
    state = history.import_state if history is not None else None
    generation = tag.generation or 0
    if state is None or (state.source, state.generation) != (text, generation):
        # Whoever names a source, or asks for it again, has chosen what it has.
        kept = state if state is not None and state.source == text else ImportState(source=text)
        by = people_text(kept.requested_by, asked_by) or None
        state = kept.model_copy(update={"generation": generation, "requested_by": by})
    if source is None:
        found: TagEvent | tuple[str, str] = TagEvent(
            created=now, docker_image_reference=tag.from_.name, image=""
        )
    elif refusal is not None and source.stream.namespace != stream.namespace:
        found = refusal
    else:
        found = _cycle(stream, tag, source, streams) or _image_of(source, streams)
    if isinstance(found, tuple):
        reason, message = found
        state = state.model_copy(update={"failures": state.failures or 1})
        return TagOutcome(tag.name, state, failure(reason, message, tag.generation))
    answer = found.image or found.docker_image_reference
    if answer != state.upstream_digest:
        state = state.model_copy(update={"upstream_digest": answer, "first_seen": now})
    event = found.model_copy(
        update={
            "created": now,
            "generation": tag.generation or stream.generation,
            "requested_by": people_text(found.requested_by, state.requested_by) or None,
        }
    )
    done = {"failures": 0, "requested_by": None}
    return TagOutcome(tag.name, state.model_copy(update=done), event)


def _image_of(source: TagSource, streams: Streams) -> TagEvent | tuple[str, str]:
    stream = streams.get(source.stream)
    if stream is None:
        where = f"{source.stream.namespace}/{source.stream.name}"
        return "SourceNotFound", f"ImageStream {where} does not exist; create it, or correct `from`"
    if source.digest:
        if (event := event_of_image(stream, source.digest)) is not None:
            return event
        return "SourceNotFound", f"{source} is not an image in a tag's history of this stream"
    history = stream.status.tag(source.tag)
    if history is None or history.latest is None:
        return "SourceNotFound", f"{source} has no image yet; it is followed when it has one"
    return history.latest


def event_of_image(stream: ImageStream, digest: str) -> TagEvent | None:
    """Return the event of an image in a tag's history.

    A digest may be shortened, as long as one image alone begins with it, and stand without its
    algorithm, as tables show it.
    """
    digest = digest if ":" in digest else f"sha256:{digest}"
    events = [event for history in stream.status.tags for event in history.items]
    found = [event for event in events if event.image == digest]
    found = found or [e for e in events if digest in {e.image[:at] for at in _lengths(e)}]
    return found[0] if len({event.image for event in found}) == 1 else None


_SHORTEST = len("sha256:") + 6


def _lengths(event: TagEvent) -> range:
    return range(_SHORTEST, len(event.image))


def _cycle(
    stream: ImageStream, tag: TagReference, source: TagSource, streams: Streams
) -> tuple[str, str] | None:
    """Say which tags follow one another in a ring, if this tag is in it."""
    own = TagSource(StreamName(stream.namespace, stream.name), tag=tag.name)
    way = [own]
    following: TagSource | None = source
    while following is not None and following not in way:
        way.append(following)
        following = _source_of_tag(following, {**streams, own.stream: stream})
    if following != own:
        return None
    ring = " -> ".join(str(one) for one in (*way, own))
    return "TagCycle", f"tags follow one another in a ring: {ring}; take one of them out"


def _source_of_tag(source: TagSource, streams: Streams) -> TagSource | None:
    stream = streams.get(source.stream)
    if stream is None or source.digest:
        return None
    declared = next((tag for tag in stream.spec.tags if tag.name == source.tag), None)
    return source_of(stream, declared) if declared is not None else None
