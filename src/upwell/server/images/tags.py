"""ImageStreamTags and ImageStreamImages: parts of ImageStreams; computed, never stored."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.images import ImageActions
from upwell.api.codec import decode_as, encode
from upwell.api.image import Image, ImageStream, ImageStreamTag, TagReference
from upwell.api.patches.content_types import APPLY
from upwell.policy.images.proofs import shows
from upwell.policy.images.streams import StreamTag, pinned
from upwell.server.auth.caller import require_tag_removal
from upwell.server.http.body import (
    media_type,
)
from upwell.server.http.errors import ApiError, success
from upwell.server.http.limits import ServerLimits
from upwell.server.http.pages import page_of
from upwell.server.http.query import is_true
from upwell.server.http.rendering import json_response, list_response, rendering_for
from upwell.server.http.selectors import parse_filter
from upwell.server.http.target import RequestTarget
from upwell.server.http.visibility import view_of
from upwell.server.images.views import find_event, image_of, tag_of, tags_of, with_details
from upwell.server.objects.large_work import read_applied, read_object, read_patched
from upwell.server.objects.write_options import WriteOptions, write_options
from upwell.server.objects.writes import Writer
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Selector,
    Store,
)


class StreamTagHandlers:
    """Answers requests for the tags and images of ImageStreams."""

    def __init__(
        self,
        store: Store,
        actions: ImageActions,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._actions = actions
        self._limits = limits
        self._clock = clock
        self._writer = Writer(store, clock)

    async def list(self, request: Request, target: RequestTarget) -> Response:
        """Answer the tags of all streams."""
        if is_true(request, "watch"):
            raise ApiError(405, "watch imagestreams: an imagestreamtag is a view of one")
        query = request.query_params
        wanted = parse_filter(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        listing = await self._store.list(ImageStream, Selector(target.namespace))
        shown = view_of(request).of
        found = (tag for stream in listing.items for tag in tags_of(stream))
        tags = [tag for tag in found if wanted.matches(tag, shown)]
        tags.sort(key=lambda tag: (tag.namespace, tag.name))
        page, metadata = page_of(request, tags, listing.resource_version)
        return list_response(request, self._clock(), target.kind, page, metadata)

    async def get(self, request: Request, target: RequestTarget) -> Response:
        """Answer one tag, with all that is known of its image."""
        rendering = rendering_for(request, self._clock())
        stream, tag = await self._find(target)
        return json_response(rendering.one(await self._detailed(stream, tag)))

    async def get_image(self, request: Request, target: RequestTarget) -> Response:
        """Answer one image of a stream, named `stream@digest`; a digest may be shortened."""
        rendering = rendering_for(request, self._clock())
        name, _, digest = target.name.partition("@")
        stream = await self._stream(target, name)
        event = find_event(stream, digest)
        if event is None:
            raise NotFoundError(target.key)
        image = await self._image(stream, event.image, pinned(event))
        found = image_of(stream, event, image)
        return json_response(rendering.one(found))

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Add a tag, and its stream where there is none."""
        document = await self._document(request)
        name = str((document.get("metadata") or {}).get("name") or "")
        target = replace(target, name=name)
        try:
            stream, _ = await self._find(target)
        except NotFoundError:
            return await self._set(request, target, document, 201)
        if any(tag.name == _tag(target).tag for tag in stream.spec.tags):
            raise AlreadyExistsError(target.key)
        return await self._set(request, target, document, 201)

    async def replace(self, request: Request, target: RequestTarget) -> Response:
        """Set a tag, whether or not it was there."""
        return await self._set(request, target, await self._document(request), 200)

    async def patch(self, request: Request, target: RequestTarget) -> Response:
        """Patch or apply a tag; what is applied takes the place of the tag."""
        if media_type(request) == APPLY:
            return await self._set(request, target, await read_applied(request, self._limits), 200)
        _, tag = await self._find(target)
        # Without the version: the stream changes for other reasons than this tag, too.
        unversioned = encode(tag.with_metadata(resource_version=None))
        document = await read_patched(request, self._limits, unversioned)
        return await self._set(request, target, document, 200)

    async def delete(self, request: Request, target: RequestTarget) -> Response:
        """Remove a tag from its stream, declared and recorded."""
        stream, tag = await self._find(target)
        require_tag_removal(request, stream, _tag(target).tag)
        if not write_options(request).dry_run:
            await self._actions.remove_tag(stream.namespace, stream.name, _tag(target).tag)
        return JSONResponse(success(target.key, tag.uid))

    async def _set(
        self, request: Request, target: RequestTarget, document: dict[str, Any], code: int
    ) -> Response:
        named = _tag(target)
        if not named.tag:
            raise ApiError(400, f"{target.name!r} does not name a tag: write STREAM:TAG")
        # The tag's own name is in the path, and clients leave it out (image/v1 ImageStreamTag).
        tag = document.get("tag") or {}
        tag = {**tag, "name": named.tag} if isinstance(tag, dict) else tag
        view = decode_as(ImageStreamTag, {**document, "tag": tag})
        wanted = _declared(view, target, named.tag)
        stream = RequestTarget(ImageStream, target.namespace, named.stream)
        version = (document.get("metadata") or {}).get("resourceVersion")
        options = write_options(request)
        written = await self._write(stream, wanted, options, version)
        found = tag_of(written, named.tag)
        if found is None:
            raise NotFoundError(target.key)
        rendering = rendering_for(request, self._clock())
        return json_response(rendering.one(await self._detailed(written, found)), code)

    async def _write(
        self, target: RequestTarget, tag: dict[str, Any], options: WriteOptions, version: object
    ) -> ImageStream:
        def change(document: dict[str, Any]) -> dict[str, Any]:
            if version and document["metadata"].get("resourceVersion") != version:
                raise ConflictError(target.key)
            spec = document.get("spec") or {}
            others = [entry for entry in spec.get("tags") or () if entry["name"] != tag["name"]]
            return {**document, "spec": {**spec, "tags": [*others, tag]}}

        try:
            written = await self._writer.modify(target, change, options)
        except NotFoundError:
            if version:
                raise
            new = {"metadata": {"name": target.name}, "spec": {"tags": [tag]}}
            collection = replace(target, name="")
            written = await self._writer.create(collection, new, options)
        if not isinstance(written.resource, ImageStream):
            raise NotFoundError(target.key)
        return written.resource

    async def _detailed(self, stream: ImageStream, tag: ImageStreamTag) -> ImageStreamTag:
        name = (tag.image.get("metadata") or {}).get("name")
        place = str(tag.image.get("dockerImageReference") or "")
        image = await self._image(stream, name, place) if name else None
        return with_details(tag, image) if image is not None else tag

    async def _image(self, stream: ImageStream, digest: str, place: str) -> Image | None:
        with suppress(NotFoundError):
            known = await self._store.get(Image, "", digest)
            if shows(stream, known):
                return known
        return await self._actions.pushed_image(stream.namespace, place)

    async def _stream(self, target: RequestTarget, name: str) -> ImageStream:
        try:
            return await self._store.get(ImageStream, target.namespace, name)
        except NotFoundError:
            raise NotFoundError(target.key) from None

    async def _find(self, target: RequestTarget) -> tuple[ImageStream, ImageStreamTag]:
        named = _tag(target)
        stream = await self._stream(target, named.stream)
        tag = tag_of(stream, named.tag)
        if tag is None:
            raise NotFoundError(target.key)
        return stream, tag

    async def _document(self, request: Request) -> dict[str, Any]:
        return await read_object(request, self._limits)


def _tag(target: RequestTarget) -> StreamTag:
    """Return the tag that a request is about; an empty one if its name has none."""
    return StreamTag.named(target.name, target.namespace, default="")


def _declared(view: ImageStreamTag, target: RequestTarget, name: str) -> dict[str, Any]:
    """Return the declaration that a client's ImageStreamTag asks for; raises ApiError."""
    if view.name and view.name != target.name:
        raise ApiError(
            400, f"the object's name {view.name!r} is not that of the request, {target.name!r}"
        )
    tag = view.tag or TagReference(name=name)
    annotations = {**view.annotations, **tag.annotations}
    changes: dict[str, object] = {"name": name}
    if annotations:
        changes["annotations"] = annotations
    document: dict[str, Any] = tag.model_copy(update=changes).model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    return document
