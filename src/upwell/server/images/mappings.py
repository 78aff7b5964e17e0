"""ImageStreamMappings: a push by name, from whoever has put an image into a registry."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.images import ImageActions, ImageExaminer
from upwell.api.codec import InvalidObjectError
from upwell.api.image import ImageStream, ImageStreamMapping
from upwell.api.values.faults import Fault
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.oci.reference import is_tag
from upwell.policy.images.streams import mapped_reference
from upwell.server.auth.caller import require_rights
from upwell.server.http.errors import success
from upwell.server.http.limits import ServerLimits
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as
from upwell.server.objects.write_options import write_options
from upwell.store.interface import Store


class ImageMappingHandlers:
    """Answers the creation of ImageStreamMappings."""

    def __init__(
        self, store: Store, actions: ImageActions, examiner: ImageExaminer, limits: ServerLimits
    ) -> None:
        self._store = store
        self._actions = actions
        self._examiner = examiner
        self._limits = limits

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Make an image the newest of a stream's tag; no tag is declared."""
        mapping = await read_as(request, self._limits, ImageStreamMapping, _check)
        require_rights(request, mapping.with_metadata(namespace=target.namespace))
        stream = await self._store.get(ImageStream, target.namespace, mapping.name)
        if not write_options(request).dry_run:
            place = mapped_reference(stream, mapping)
            proven = await self._examiner.is_given(target.namespace, place, mapping.image.name)
            await self._actions.map_image(stream, mapping, proven=proven)
        return JSONResponse(success(stream.key, stream.uid), 201)


def _check(mapping: ImageStreamMapping) -> None:
    """Raise InvalidObjectError with all that is wrong with a mapping."""
    faults = []
    if not mapping.name:
        faults.append(Fault("metadata.name", "required: the stream"))
    if not is_tag(mapping.tag):
        faults.append(Fault("tag", f"{mapping.tag!r} is not a tag"))
    try:
        digest = Digest.parse(mapping.image.name)
    except InvalidDigestError as error:
        faults.append(Fault("image.metadata.name", str(error)))
    else:
        faults += _reference_faults(mapping.image.docker_image_reference, digest)
    if faults:
        raise InvalidObjectError(f"ImageStreamMapping {mapping.name!r}", tuple(faults))


def _reference_faults(text: str, digest: Digest) -> list[Fault]:
    """Return the fault of a pull spec that means another image than the digest."""
    try:
        named = Reference.parse(text).digest if text else None
    except InvalidReferenceError:
        return []  # nothing pulls it
    if named in {None, digest}:
        return []
    return [Fault("image.dockerImageReference", f"means {named}, and not {digest}")]
