"""POST /webhooks/registry: a registry says that an image was pushed."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.actions.images import ImageActions
from upwell.policy.images.registry_webhooks import parse_webhook
from upwell.server.http.body import read_body
from upwell.server.http.limits import ServerLimits


def create_routes(actions: ImageActions, limits: ServerLimits) -> list[BaseRoute]:
    """Return the webhook's route."""

    async def registry(request: Request) -> Response:
        """Answer how many of the pushed images are followed; the check itself comes later."""
        body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
        pushes = parse_webhook(body)
        noted = await actions.note_pushes(pushes)
        return JSONResponse({"pushed": len(pushes), "noted": noted}, 202)

    return [Route("/webhooks/registry", registry, methods=["POST"])]
