"""The application that a cluster sends AdmissionReviews to, on a port of its own.

Whoever reaches it may ask: an answer changes nothing. So what one answer takes is bounded, how many
are made at once, and how many requests of one address, and of all, may be on their way: who sends
theirs slowly keeps nobody else waiting, and gives way where there are too many.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from upwell.api.schemas.webhooks import MUTATING, PATHS, REVIEW_SECONDS, VALIDATING
from upwell.server.cluster_access.admission import ClusterAdmission
from upwell.server.cluster_access.reviews import AdmissionAnswer, AdmissionRequest, parse_review
from upwell.server.http.body import read_body
from upwell.server.http.errors import ERROR_HANDLERS, ApiError
from upwell.server.http.limits import DEFAULT_LIMITS, MIB, ServerLimits
from upwell.server.objects.large_work import LargeWork, large_work, seat_large_work, size_of

log = logging.getLogger(__name__)

_BODY_BYTES = 8 * MIB
"""Two of the largest objects, and what stands around them."""
_AT_ONCE = 16
_AT_ONCE_OF_PEER = 8
"""Bodies of one address that are read at a time."""
_AT_ONCE_OF_ALL = 64
"""Bodies that are read at a time: a cluster sends a whole one within milliseconds."""
_SECONDS = REVIEW_SECONDS - 2.0
"""An answer that takes longer comes too late."""

type _Answer = Callable[[AdmissionRequest, LargeWork, int], Awaitable[AdmissionAnswer]]


class _Bodies:
    """Bodies that are being read; where they are too many, the oldest is given up."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reading: dict[asyncio.Timeout, None] = {}

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a place while a body is read; raises TimeoutError where it has to be given up."""
        if len(self._reading) >= self._most:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        async with asyncio.timeout(None) as place:
            self._reading[place] = None
            try:
                yield
            finally:
                self._reading.pop(place, None)


def create_admission_app(
    admission: ClusterAdmission, limits: ServerLimits = DEFAULT_LIMITS
) -> Starlette:
    """Return the application."""
    turns = asyncio.Semaphore(_AT_ONCE)
    bodies = _Bodies(_AT_ONCE_OF_ALL)
    peers: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def handler(answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                async with asyncio.timeout(_SECONDS):
                    peer = request.client.host if request.client is not None else ""
                    of_peer = peers.setdefault(peer, asyncio.Semaphore(_AT_ONCE_OF_PEER))
                    async with of_peer, bodies.one():
                        body = await read_body(request, _BODY_BYTES, _SECONDS)
                    async with turns:
                        return await _answered(request, body, answer, admission.own)
            except TimeoutError:
                raise ApiError(503, f"no answer in {_SECONDS:g} s: too much is asked") from None

        return handle

    app = Starlette(
        routes=[
            Route(PATHS[MUTATING], handler(admission.mutated), methods=["POST"]),
            Route(PATHS[VALIDATING], handler(admission.validated), methods=["POST"]),
        ],
        exception_handlers=dict(ERROR_HANDLERS),
    )
    seat_large_work(app, limits)
    return app


async def _answered(request: Request, body: bytes, answer: _Answer, own: str) -> Response:
    size = size_of(body)
    async with large_work(request) as work:
        asked = await work.computed(lambda: parse_review(body, own), size)
        found = await answer(asked, work, size)
    if found.refusal is not None:
        log.warning(
            "write refused",
            extra={
                "user": asked.user.name,
                "operation": asked.operation,
                "key": str(asked.target.key),
                "why": str(found.refusal),
            },
        )
    return JSONResponse(found.document(asked.uid))
