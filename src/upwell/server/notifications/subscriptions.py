"""Parts of Subscriptions: a test of one, its dead letters, and to send those again."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.api.codec import decode_part
from upwell.api.meta import Model
from upwell.reconcilers.notifications import SubscriptionRequests
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.http.target import RequestTarget
from upwell.server.objects.objects import Handler

_MOST_IDS = 1000

type _Id = Annotated[str, StringConstraints(max_length=64)]


class ReplayBody(Model):
    """POST subscriptions/NAME/replay: the ids of dead letters, or all of them."""

    ids: Annotated[tuple[_Id, ...], Field(max_length=_MOST_IDS)] = ()
    all: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.ids) == self.all:
            raise ValueError("name ids, or set all")
        return self


def parts(
    requests: SubscriptionRequests | None, limits: ServerLimits
) -> Mapping[tuple[str, str], Mapping[str, Handler]]:
    """Return the parts and their handlers, by HTTP method; none where nothing is delivered."""
    if requests is None:
        return {}
    handlers = SubscriptionHandlers(requests, limits)
    return {
        ("subscriptions", "test"): {"POST": handlers.test},
        ("subscriptions", "deadletters"): {"GET": handlers.dead_letters},
        ("subscriptions", "replay"): {"POST": handlers.replay},
    }


class SubscriptionHandlers:
    """Answers requests for the parts of Subscriptions."""

    def __init__(self, requests: SubscriptionRequests, limits: ServerLimits) -> None:
        self._requests = requests
        self._limits = limits

    async def test(self, request: Request, target: RequestTarget) -> Response:
        """Send a test: `{"id": …, "delivered": true|false, "message": what came back}`."""
        del request
        return JSONResponse(await self._requests.test(target.namespace, target.name))

    async def dead_letters(self, request: Request, target: RequestTarget) -> Response:
        """Answer `{"items": […]}`, the oldest first."""
        del request
        found = await self._requests.dead_letters(target.namespace, target.name)
        return JSONResponse({"items": found})

    async def replay(self, request: Request, target: RequestTarget) -> Response:
        """Send dead letters again: `{"replayed": n}`. Of an id that is none, nothing."""
        body = await read_body(request, self._limits.webhook_bytes, self._limits.body_seconds)
        document = decode_object(body, media_type(request))
        wanted = decode_part(ReplayBody, f"replay of {target.key}", document)
        ids = None if wanted.all else wanted.ids
        count = await self._requests.replay(target.namespace, target.name, ids)
        return JSONResponse({"replayed": count})
