"""POST /apis/upwell.dev/v1alpha1/prunes: what may be removed, or its removal, as one answer."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.actions.pruning import PruningActions
from upwell.api.codec import decode_as, encode_json
from upwell.api.requests.prune import Prune
from upwell.server.http.body import read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.objects.write_options import write_options


def create_routes(actions: PruningActions | None, limits: ServerLimits) -> list[BaseRoute]:
    """Return the route; none where nothing is pruned.

    It names no resource that a role knows: an admin everywhere may use it. With `dryRun` nothing
    is removed, whatever is confirmed.
    """
    if actions is None:
        return []

    async def create(request: Request) -> Response:
        body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
        asked = decode_as(Prune, body)
        spec = asked.spec
        if write_options(request).dry_run:
            spec = spec.model_copy(update={"confirm": False})
        answer = asked.with_status(await actions.prune(spec))
        return Response(encode_json(answer), 201, media_type="application/json")

    kind = Prune.KIND
    return [Route(f"/apis/{kind.api_version}/{kind.plural}", create, methods=["POST"])]
