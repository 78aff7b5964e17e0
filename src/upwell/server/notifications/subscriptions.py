"""Parts of Subscriptions: a test of one, its dead letters, and to send those again."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.notifications import SubscriptionActions
from upwell.api.codec import decode_part
from upwell.api.meta import Model, format_time
from upwell.delivery.interface import DeadLetter
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
    actions: SubscriptionActions | None, limits: ServerLimits
) -> Mapping[tuple[str, str], Mapping[str, Handler]]:
    """Return the parts and their handlers, by HTTP method; none where nothing is delivered."""
    if actions is None:
        return {}
    handlers = SubscriptionHandlers(actions, limits)
    return {
        ("subscriptions", "test"): {"POST": handlers.test},
        ("subscriptions", "deadletters"): {"GET": handlers.dead_letters},
        ("subscriptions", "replay"): {"POST": handlers.replay},
    }


class SubscriptionHandlers:
    """Answers requests for the parts of Subscriptions."""

    def __init__(self, actions: SubscriptionActions, limits: ServerLimits) -> None:
        self._actions = actions
        self._limits = limits

    async def test(self, request: Request, target: RequestTarget) -> Response:
        """Send a test: `{"id": …, "delivered": true|false, "message": what came back}`."""
        del request
        return JSONResponse(asdict(await self._actions.test(target.namespace, target.name)))

    async def dead_letters(self, request: Request, target: RequestTarget) -> Response:
        """Answer `{"items": […]}`, the oldest first."""
        del request
        found = await self._actions.dead_letters(target.namespace, target.name)
        return JSONResponse({"items": [_document(letter) for letter in found]})

    async def replay(self, request: Request, target: RequestTarget) -> Response:
        """Send dead letters again: `{"replayed": n}`. Of an id that is none, nothing."""
        body = await read_body(request, self._limits.webhook_bytes, self._limits.body_seconds)
        document = decode_object(body, media_type(request))
        wanted = decode_part(ReplayBody, f"replay of {target.key}", document)
        ids = None if wanted.all else wanted.ids
        count = await self._actions.replay(target.namespace, target.name, ids)
        return JSONResponse({"replayed": count})


def _document(letter: DeadLetter) -> Mapping[str, Any]:
    """Return a dead letter with its event as it would be sent."""
    envelope = letter.envelope
    return {
        "id": envelope.id,
        "type": envelope.type,
        "subject": envelope.subject,
        "message": envelope.message,
        "died": format_time(letter.died),
        "attempts": letter.attempts,
        "error": letter.error,
        "event": json.loads(envelope.body),
    }
