"""An ImageStream seen tag by tag and image by image: ImageStreamTag and ImageStreamImage."""

from collections.abc import Iterator
from typing import Any

from upwell.api.codec import encode
from upwell.api.image import (
    Image,
    ImageStream,
    ImageStreamImage,
    ImageStreamTag,
    NamedTagEventList,
    TagEvent,
    TagReference,
)
from upwell.api.meta import ObjectMeta, format_time
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import pinned, resolve_tag


def tags_of(stream: ImageStream) -> Iterator[ImageStreamTag]:
    """Yield the tags that the stream has: those with a history, whether declared or pushed."""
    declared = {tag.name: tag for tag in effective_tags(stream)}
    for history in stream.status.tags:
        yield _view(stream, history, declared.get(history.tag))


def tag_of(stream: ImageStream, name: str) -> ImageStreamTag | None:
    """Return one tag; one that is declared has a view before it has an image."""
    declared = next((tag for tag in effective_tags(stream) if tag.name == name), None)
    history = stream.status.tag(name)
    if history is None and declared is None:
        return None
    return _view(stream, history or NamedTagEventList(tag=name), declared)


def with_details(tag: ImageStreamTag, image: Image) -> ImageStreamTag:
    """Return the view with all that is known of its image."""
    return tag.model_copy(update={"image": _detailed(tag.image, image)})


def image_of(stream: ImageStream, event: TagEvent, image: Image | None) -> ImageStreamImage:
    """Return the view of an image that one of the tags has or had."""
    shown = _brief(event, pinned(event))
    return ImageStreamImage(
        api_version=ImageStreamImage.KIND.api_version,
        kind=ImageStreamImage.KIND.kind,
        metadata=ObjectMeta(
            name=f"{stream.name}@{event.image}",
            namespace=stream.namespace,
            uid=stream.uid,
            creation_timestamp=event.created,
        ),
        image=_detailed(shown, image) if image is not None else shown,
    )


def find_event(stream: ImageStream, digest: str) -> TagEvent | None:
    """Return the newest event of an image, which may be named by the beginning of its digest."""
    found: dict[str, TagEvent] = {}
    for history in stream.status.tags:
        for event in history.items:
            if event.image == digest:
                return event
            if digest and event.image.partition(":")[2].startswith(digest.removeprefix("sha256:")):
                found.setdefault(event.image, event)
    return next(iter(found.values())) if len(found) == 1 else None


def _view(
    stream: ImageStream, history: NamedTagEventList, declared: TagReference | None
) -> ImageStreamTag:
    latest = history.latest
    created = latest.created if latest else stream.metadata.creation_timestamp
    shown = _brief(latest, resolve_tag(stream, history.tag)) if latest else {}
    return ImageStreamTag(
        api_version=ImageStreamTag.KIND.api_version,
        kind=ImageStreamTag.KIND.kind,
        metadata=ObjectMeta(
            name=f"{stream.name}:{history.tag}",
            namespace=stream.namespace,
            uid=stream.uid,
            resource_version=stream.resource_version,
            creation_timestamp=created,
            labels=dict(stream.labels),
            annotations=declared.annotations if declared else {},
        ),
        tag=declared,
        generation_=latest.generation if latest else None,
        conditions=history.conditions,
        lookup_policy=stream.spec.lookup_policy,
        image=shown,
    )


def _brief(event: TagEvent, pull_spec: str | None) -> dict[str, Any]:
    return {
        "metadata": {"name": event.image, "creationTimestamp": format_time(event.created)},
        "dockerImageReference": pull_spec,
    }


def _detailed(shown: dict[str, Any], image: Image) -> dict[str, Any]:
    """Return an image as the stream shows it: pulled from where the stream says."""
    document = encode(image)
    for name in ("apiVersion", "kind"):
        document.pop(name, None)
    annotations = document["metadata"].get("annotations") or {}
    metadata = {**shown["metadata"], "annotations": annotations}
    return {**document, **shown, "metadata": metadata}
