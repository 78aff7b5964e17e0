"""POST /apis/upwell.dev/v1alpha1/admintokenrotations: another token of the server's own user."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.api.codec import decode_as
from upwell.api.requests.admin_token import AdminTokenRotation
from upwell.server.http.body import read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response

type RotateAdminToken = Callable[[], Awaitable[None]]
"""Writes a new token in the place of the old one, which is refused from then on."""


def create_routes(rotate: RotateAdminToken | None, limits: ServerLimits) -> list[BaseRoute]:
    """Return the route; none where there is no such token.

    It names no resource that a role knows: an admin everywhere may use it.
    """
    if rotate is None:
        return []

    async def create(request: Request) -> Response:
        asked = decode_as(
            AdminTokenRotation, await read_body(request, limits.webhook_bytes, limits.body_seconds)
        )
        await rotate()
        return object_response(request, asked, 201)

    kind = AdminTokenRotation.KIND
    return [Route(f"/apis/{kind.api_version}/{kind.plural}", create, methods=["POST"])]
