"""ImageStreamMappings: a push by name, from whoever has put an image into a registry."""

from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import Fault, InvalidObjectError, decode_as
from upwell.api.image import Image, ImageStream, ImageStreamMapping, TagEvent
from upwell.oci import Digest, InvalidDigestError
from upwell.oci.reference import is_tag
from upwell.policy.images.streams import record_image
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.errors import success
from upwell.server.http.limits import ServerLimits
from upwell.server.http.target import RequestTarget
from upwell.server.objects.write_options import write_options
from upwell.store.interface import AlreadyExistsError, ConflictError, Store

_ATTEMPTS = 8


class ImageMappingHandlers:
    """Answers the creation of ImageStreamMappings."""

    def __init__(self, store: Store, limits: ServerLimits, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Make an image the newest of a stream's tag; no tag is declared.

        The same again changes nothing. Another image that came to the tag meanwhile is a
        conflict: which of the two is the newer, nobody can say.
        """
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        mapping = decode_as(ImageStreamMapping, decode_object(body, media_type(request)))
        _check(mapping)
        stream = await self._store.get(ImageStream, target.namespace, mapping.name)
        if not write_options(request).dry_run:
            await self._keep(mapping.image)
            await self._record(stream, mapping)
        return JSONResponse(success(stream.key, stream.uid), 201)

    async def _keep(self, image: Image) -> None:
        try:
            await self._store.create(image.with_metadata(namespace=None, resource_version=None))
        except AlreadyExistsError:
            return  # a digest is the same image, whoever tells of it

    async def _record(self, stream: ImageStream, mapping: ImageStreamMapping) -> None:
        before = _latest(stream, mapping.tag)
        if before == mapping.image.name:
            return
        for _ in range(_ATTEMPTS):
            event = _event(stream, mapping, self._clock())
            status = record_image(stream.status, mapping.tag, event, changes={})
            try:
                await self._store.update_status(stream.with_status(status))
            except ConflictError as error:
                conflict = error
            else:
                return
            stream = await self._store.get(ImageStream, stream.namespace, stream.name)
            if _latest(stream, mapping.tag) != before:
                why = f"another image was pushed to {mapping.tag} meanwhile"
                raise ConflictError(stream.key, why)
        raise conflict


def _check(mapping: ImageStreamMapping) -> None:
    """Raise InvalidObjectError with all that is wrong with a mapping."""
    faults = []
    if not mapping.name:
        faults.append(Fault("metadata.name", "required: the stream"))
    if not is_tag(mapping.tag):
        faults.append(Fault("tag", f"{mapping.tag!r} is not a tag"))
    try:
        Digest.parse(mapping.image.name)
    except InvalidDigestError as error:
        faults.append(Fault("image.metadata.name", str(error)))
    if faults:
        raise InvalidObjectError(f"ImageStreamMapping {mapping.name!r}", tuple(faults))


def _latest(stream: ImageStream, tag: str) -> str:
    history = stream.status.tag(tag)
    return history.latest.image if history is not None and history.latest is not None else ""


def _event(stream: ImageStream, mapping: ImageStreamMapping, now: datetime) -> TagEvent:
    own = f"{stream.status.docker_image_repository}@{mapping.image.name}"
    return TagEvent(
        created=now,
        docker_image_reference=mapping.image.docker_image_reference or own,
        image=mapping.image.name,
        generation=stream.generation,
    )
