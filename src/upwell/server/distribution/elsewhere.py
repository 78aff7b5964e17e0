"""/v2/ of a server whose images lie in another registry: it says where."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from upwell.server.distribution.errors import answering_errors
from upwell.server.distribution.requests import DistributionError

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def elsewhere(prefix: str) -> list[BaseRoute]:
    """Return the routes of /v2/, which answer that images are below `prefix`."""

    async def refuse(_request: Request) -> Response:
        message = f"this server keeps no images: they are in {prefix}/NAMESPACE/STREAM"
        raise DistributionError(404, "UNSUPPORTED", message)

    routes = [Route("/{path:path}", answering_errors(refuse), methods=_METHODS)]
    return [Mount("/v2", app=Router(routes, redirect_slashes=False))]
