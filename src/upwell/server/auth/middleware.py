"""ASGI middleware that lets requests in: rights, rates, turns, and the audit log."""

import asyncio
from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from upwell.audit.log import AuditUnavailableError
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.request_seats import SeatError
from upwell.server.auth.requests.admission import RequestAdmission
from upwell.server.auth.requests.head import RequestHead
from upwell.server.auth.requests.long_running import ResponseProgress, run_while
from upwell.server.auth.requests.recording import AuditRecorder, RecordedAnswer
from upwell.server.auth.requests.refusals import refuse
from upwell.server.auth.requests.turns import RequestTurns
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits


class AuthMiddleware:
    """ASGI middleware in front of everything that is served."""

    def __init__(
        self,
        app: ASGIApp,
        access: AccessControl,
        limits: ServerLimits,
        shutdown: asyncio.Event | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._admission = RequestAdmission(access, limits)
        self._turns = RequestTurns(limits, shutdown)
        self._recorder = AuditRecorder(access.audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope.setdefault("method", "GET")  # a websocket begins with one (RFC 6455, 4.1)
        request = RequestHead(scope)
        with ExitStack() as stack:
            try:
                await self._admission.admit(request)
                stack.enter_context(self._turns.open(request))
                if request.is_change:
                    await self._recorder.require()
            except ApiError as error:
                await self._recorder.record_if_possible(request, error.code)
                await refuse(scope, receive, send, error)
                return
            except AuditUnavailableError as error:
                await refuse(scope, receive, send, ApiError(503, str(error)))
                return
            try:
                async with self._turns.turn(request):
                    await self._serve(request, receive, send)
            except SeatError as error:
                await refuse(scope, receive, send, error)

    async def _serve(self, request: RequestHead, receive: Receive, send: Send) -> None:
        """Serve; what belongs in the audit log is there before the answer begins."""
        answer = RecordedAnswer(self._recorder, request, receive, send)
        try:
            if request.is_long_running:
                await self._serve_long_running(request, receive, answer.send)
            else:
                await self._app(request.scope, receive, answer.send)
        finally:
            await answer.end()

    async def _serve_long_running(self, request: RequestHead, receive: Receive, send: Send) -> None:
        """Serve until the client's token, or its right to this, has ended."""
        ending = ResponseProgress(request.scope, send)

        async def stands() -> bool:
            return await self._admission.stands(request)

        answer = self._app(request.scope, receive, ending.send)
        if not await run_while(answer, stands, self._limits.recheck_seconds):
            error = ApiError(403, "the token does not allow this any more")
            await self._recorder.record_if_possible(request, error.code)
            if ending.has_begun:
                await ending.end(str(error))
            else:
                await refuse(request.scope, receive, send, error)
