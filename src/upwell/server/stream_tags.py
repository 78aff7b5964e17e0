"""ImageStreamTags: each tag of an ImageStream as an object of its own; computed, never stored."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.image import ImageStream, ImageStreamTag, NamedTagEventList
from upwell.api.meta import ObjectMeta, format_time
from upwell.policy.streams import resolve_tag
from upwell.server.pages import page_of
from upwell.server.query import is_true, write_options
from upwell.server.rendering import json_response, rendering_for
from upwell.server.selectors import parse_filter
from upwell.server.statuses import ApiError, success
from upwell.server.target import Target
from upwell.store.interface import ConflictError, NotFoundError, Selector, Store

_ATTEMPTS = 8


def tags_of(stream: ImageStream) -> Iterator[ImageStreamTag]:
    """Yield the tags that the stream has: those with a history, whether declared or pushed."""
    declared = {tag.name: tag for tag in stream.spec.tags}
    for history in stream.status.tags:
        name = history.tag
        created = history.latest.created if history.latest else stream.metadata.creation_timestamp
        yield ImageStreamTag(
            api_version=ImageStreamTag.KIND.api_version,
            kind=ImageStreamTag.KIND.kind,
            metadata=ObjectMeta(
                name=f"{stream.name}:{name}",
                namespace=stream.namespace,
                uid=stream.uid,
                resource_version=stream.resource_version,
                creation_timestamp=created,
                annotations=declared[name].annotations if name in declared else {},
            ),
            tag=declared.get(name),
            generation_=history.latest.generation if history.latest else None,
            conditions=history.conditions,
            image=_image(stream, history),
        )


def _image(stream: ImageStream, history: NamedTagEventList) -> dict[str, Any]:
    latest = history.latest
    if latest is None:
        return {}
    return {
        "metadata": {"name": latest.image, "creationTimestamp": format_time(latest.created)},
        "dockerImageReference": resolve_tag(stream, history.tag),
    }


class StreamTagHandlers:
    """Answers requests for ImageStreamTags from the ImageStreams."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def list(self, request: Request, target: Target) -> Response:
        """Answer the tags of all streams."""
        if is_true(request, "watch"):
            raise ApiError(405, "watch imagestreams: an imagestreamtag is a view of one")
        rendering = rendering_for(request, self._clock())
        query = request.query_params
        wanted = parse_filter(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        listing = await self._store.list(ImageStream, Selector(target.namespace))
        tags = [tag for stream in listing.items for tag in tags_of(stream) if wanted.matches(tag)]
        tags.sort(key=lambda tag: (tag.namespace, tag.name))
        page, metadata = page_of(request, tags, listing.resource_version)
        return json_response(rendering.many(target.kind, page, metadata))

    async def get(self, request: Request, target: Target) -> Response:
        """Answer one tag."""
        rendering = rendering_for(request, self._clock())
        _, tag = await self._find(target)
        return json_response(rendering.one(tag))

    async def delete(self, request: Request, target: Target) -> Response:
        """Remove a tag from its stream, declared and recorded."""
        dry_run = write_options(request).dry_run
        for _ in range(_ATTEMPTS):
            stream, tag = await self._find(target)
            if dry_run:
                break
            try:
                await self._remove(stream, target.name.partition(":")[2])
                break
            except ConflictError as error:
                conflict = error
        else:
            raise conflict
        return JSONResponse(success(target.key, tag.uid))

    async def _find(self, target: Target) -> tuple[ImageStream, ImageStreamTag]:
        name, _, _ = target.name.partition(":")
        try:
            stream = await self._store.get(ImageStream, target.namespace, name)
        except NotFoundError:
            raise NotFoundError(target.key) from None
        for tag in tags_of(stream):
            if tag.name == target.name:
                return stream, tag
        raise NotFoundError(target.key)

    async def _remove(self, stream: ImageStream, name: str) -> None:
        # First what is declared: a tag that is still declared would come back.
        declared = tuple(tag for tag in stream.spec.tags if tag.name != name)
        spec = stream.spec.model_copy(update={"tags": declared})
        stream = await self._store.update(stream.model_copy(update={"spec": spec}))
        recorded = tuple(entry for entry in stream.status.tags if entry.tag != name)
        status = stream.status.model_copy(update={"tags": recorded})
        await self._store.update_status(stream.with_status(status))
