"""/livez and /readyz: whether the process answers, and whether it can do its work."""

import asyncio

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.api.core import Namespace
from upwell.server.streaming import OpenStreams
from upwell.store.interface import Selector, Store, StoreError

_SECONDS = 5.0


def create_routes(store: Store, streams: OpenStreams) -> list[BaseRoute]:
    """Return the routes; not ready while the store does not answer or the server shuts down."""

    async def live(request: Request) -> Response:
        del request
        return PlainTextResponse("ok")

    async def ready(request: Request) -> Response:
        del request
        if streams.shutdown.is_set():
            return PlainTextResponse("shutting down", 503)
        try:
            async with asyncio.timeout(_SECONDS):
                await store.list(Namespace, Selector(name="default"))
        except (StoreError, TimeoutError) as error:
            return PlainTextResponse(f"the store does not answer: {error}", 503)
        return PlainTextResponse("ok")

    return [Route("/livez", live), Route("/readyz", ready), Route("/healthz", ready)]
