"""Public keys of images at /image-signing.pub, and POST …/imagesigningkeys for another key."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.api.codec import decode_as
from upwell.api.requests.image_signing_key import ImageSigningKey, ImageSigningKeyStatus
from upwell.server.http.body import read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response

PUBLIC_KEY_PATH = "/image-signing.pub"
_PEM = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class ImageSigningKeys:
    """Keys that sign images."""

    public: Callable[[], Sequence[bytes]]
    """Returns the public keys in PEM, the newest first; none: nothing is signed."""
    rotate: Callable[[], Awaitable[None]]
    """Signs by a new key from now on; raises RejectedError where the settings name one."""


def create_routes(keys: ImageSigningKeys | None, limits: ServerLimits) -> list[BaseRoute]:
    """Return the routes; none where nothing is signed.

    Everybody may read the public keys. The rotation names no resource that a role knows: an admin
    everywhere may ask for it.
    """
    if keys is None:
        return []

    async def public(request: Request) -> Response:
        del request
        return Response(b"".join(keys.public()), media_type=_PEM)

    async def create(request: Request) -> Response:
        body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
        asked = decode_as(ImageSigningKey, body)
        if asked.spec.rotate:
            await keys.rotate()
        found = ImageSigningKeyStatus(public_keys=tuple(pem.decode() for pem in keys.public()))
        return object_response(request, asked.with_status(found), 201)

    kind = ImageSigningKey.KIND
    return [
        Route(PUBLIC_KEY_PATH, public, methods=["GET"]),
        Route(f"/apis/{kind.api_version}/{kind.plural}", create, methods=["POST"]),
    ]
