"""GET /apis/upwell.dev/v1alpha1/auditlogs[/NAME]: audit logs of all replicas, in pieces."""

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.audit.keeping import KeptAuditError, ReadableAudit
from upwell.store.interface import MissingPathError, UnavailableError

PATH = "/apis/upwell.dev/v1alpha1/auditlogs"


def create_routes(audit: ReadableAudit | None) -> list[BaseRoute]:
    """Return the routes; none where each server has its log alone.

    They name no resource that a role knows: an admin everywhere may use them.
    """
    if audit is None:
        return []

    async def listed(request: Request) -> Response:
        del request
        try:
            found = await audit.pieces()
        except KeptAuditError as error:
            raise UnavailableError(str(error)) from error
        items = [
            {"name": one.name, "chain": one.chain, "log": one.log_name, "first": one.first}
            for one in found
        ]
        return JSONResponse({"items": items})

    async def content(request: Request) -> Response:
        name = request.path_params["name"]
        async with AsyncExitStack() as stack:
            try:
                pieces = await stack.enter_async_context(audit.open(name))
                found = None if pieces is None else b"".join([one async for one in pieces])
            except KeptAuditError as error:
                raise UnavailableError(str(error)) from error
        if found is None:
            raise MissingPathError(request.url.path)
        return Response(found, media_type="application/octet-stream")

    return [
        Route(PATH, listed, methods=["GET"]),
        Route(f"{PATH}/{{name}}", content, methods=["GET"]),
    ]
