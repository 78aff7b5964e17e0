"""POST /apis/upwell.dev/v1alpha1/prunes: what may be removed, or its removal, as one answer."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from upwell.api.codec import decode_as, encode_json
from upwell.api.prune import Prune, PruneSpec, PruneStatus
from upwell.policy.pruning.retention import MINIMUM_GRACE, Rules
from upwell.server.http.body import read_body
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits

type PruneNow = Callable[[Rules, bool], Awaitable[PruneStatus]]
"""Says what may go by these rules, and removes it if the second argument says so."""


def create_routes(prune: PruneNow, defaults: Rules, limits: ServerLimits) -> list[BaseRoute]:
    """Return the route. It names no resource that a role knows: an admin everywhere may use it."""

    async def create(request: Request) -> Response:
        body = await read_body(request, limits.webhook_bytes, limits.body_seconds)
        asked = decode_as(Prune, body)
        status = await prune(rules_of(asked.spec, defaults), asked.spec.confirm)
        answer = asked.with_status(status)
        return Response(encode_json(answer), 201, media_type="application/json")

    kind = Prune.KIND
    return [Route(f"/apis/{kind.api_version}/{kind.plural}", create, methods=["POST"])]


def rules_of(spec: PruneSpec, defaults: Rules) -> Rules:
    """Return what a request asks for; raises ApiError."""
    revisions, seconds = spec.keep_tag_revisions, spec.keep_younger_than_seconds
    grace = defaults.keep_younger_than if seconds is None else timedelta(seconds=seconds)
    if grace < MINIMUM_GRACE:
        shortest = f"{MINIMUM_GRACE.total_seconds() / 60:g} minutes"
        raise ApiError(
            422,
            f"keepYoungerThanSeconds: at least {shortest} are kept, so that nothing is taken"
            " from a push or a build that runs",
        )
    return Rules(defaults.keep_tag_revisions if revisions is None else revisions, grace)
