"""Recording of requests in the audit log, before the client hears that they are done."""

from contextlib import suppress

from starlette.types import Message, Receive, Send

from upwell.audit.events import AuditEvent
from upwell.audit.log import AuditLog, AuditUnavailableError
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import AUDIT_NOTE, CREATED, AuditNote, CreatedObject
from upwell.server.auth.requests.head import RequestHead
from upwell.server.auth.requests.refusals import refuse
from upwell.server.http.errors import ApiError

_DENIED = {401, 403}
_ANSWERS = {"http.response.start", "websocket.accept"}


class AuditRecorder:
    """Writes requests that are worth it to the audit log."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def require(self) -> None:
        """Raise AuditUnavailableError while nothing can be recorded."""
        await self._log.require()

    async def record(self, request: RequestHead, code: int) -> None:
        """Record a request that is worth it, and what it has made; raises AuditUnavailableError."""
        created: tuple[CreatedObject, ...] = request.scope.get(CREATED, ())
        for made in created:
            await self._log.record(_creation(request, made))
        if code not in _DENIED and not request.is_noteworthy:
            return
        action = request.action
        note: AuditNote = request.scope.get(AUDIT_NOTE, AuditNote())
        if note.is_nothing and code not in _DENIED:
            return
        event = AuditEvent(
            note.user or request.user.username,
            request.source,
            action.verb,
            action.resource,
            action.part,
            note.namespace or action.namespace,
            note.name or action.name,
            code,
            note.reason,
            note.changes,
            note.denied,
            note.annotations,
        )
        await self._log.record(event)

    async def record_if_possible(self, request: RequestHead, code: int) -> None:
        """Record a request that ends all the same where it cannot be recorded."""
        with suppress(AuditUnavailableError):
            await self.record(request, code)


class RecordedAnswer:
    """Sends an answer; what belongs in the audit log is there before it begins."""

    def __init__(
        self, recorder: AuditRecorder, request: RequestHead, receive: Receive, send: Send
    ) -> None:
        self._recorder = recorder
        self._request = request
        self._receive = receive
        self._send = send
        self._is_recorded = self._is_replaced = False

    async def send(self, message: Message) -> None:
        """Send a message of the handler; where its request is not recorded, say so instead."""
        if message["type"] in _ANSWERS and not self._is_recorded:
            self._is_recorded = True
            await self._begin(message)
        if not self._is_replaced:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        request = self._request
        _warn_of_end(request.user, message)
        try:
            await self._recorder.record(request, message.get("status", 101))
        except AuditUnavailableError as error:
            self._is_replaced = not request.goes_on_unrecorded
            if self._is_replaced:
                await refuse(request.scope, self._receive, self._send, _unrecorded(error))

    async def end(self) -> None:
        """Record a request without an answer: its client has left, or its handler has failed."""
        if not self._is_recorded:
            await self._recorder.record_if_possible(self._request, 0)


def _creation(request: RequestHead, made: CreatedObject) -> AuditEvent:
    return AuditEvent(
        request.user.username,
        request.source,
        "create",
        made.resource,
        namespace=made.namespace,
        name=made.name,
        code=201,
        changes=made.changes,
    )


def _warn_of_end(user: Principal, answer: Message) -> None:
    """Tell the owner of a token that it ends soon, as Kubernetes' clients print it (RFC 9111)."""
    if user.is_ending and user.ends is not None and "headers" in answer:
        text = f"token {user.username} ends at {user.ends:%Y-%m-%d %H:%M} UTC: make another"
        warning = (b"warning", f'299 - "{text}"'.encode())
        answer["headers"] = [*answer["headers"], warning]


def _unrecorded(error: AuditUnavailableError) -> ApiError:
    return ApiError(500, f"it is done, but the audit log has no line of it: {error}")
