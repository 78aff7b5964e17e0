"""Sign-in of command lines, and the sessions of people: /oidc.

The server runs the device flow (RFC 8628) with the provider: a command line needs to know no client
and to reach no provider, and never holds a token of the provider's. What waits for a person is kept
by the command line, sealed, so that nobody fills the server with sign-ins that nobody ends.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.api.meta import format_time
from upwell.policy.access.roles import Action
from upwell.server.auth.foreign_tokens import IssuerError
from upwell.server.auth.issuers import IssuerUnavailableError
from upwell.server.auth.people import SESSIONS, SIGN_IN
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.http.body import decode_object, read_body
from upwell.server.http.errors import ApiError
from upwell.server.signin.provider import PendingError
from upwell.server.signin.records import SessionRecord
from upwell.server.signin.services import SignIn

_PURPOSE = "device"
_MAX_BODY = 16 * 1024
_CURRENT = "current"


class DeviceHandlers:
    """Answers command lines."""

    def __init__(self, services: SignIn) -> None:
        self._services = services

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route(SIGN_IN, self.describe, methods=["GET"]),
            Route(f"{SIGN_IN}/device", self.begin, methods=["POST"]),
            Route(f"{SIGN_IN}/token", self.finish, methods=["POST"]),
            Route(SESSIONS, self.list, methods=["GET"]),
            Route(SESSIONS, self.end_all, methods=["DELETE"]),
            Route(f"{SESSIONS}/{{session}}", self.end, methods=["DELETE"]),
        ]

    async def describe(self, request: Request) -> Response:
        """Say where people sign in, and whether a command line can."""
        self._services.count(request)
        try:
            has_device = await self._services.provider.has_device_flow()
        except IssuerUnavailableError as error:
            raise ApiError(503, str(error)) from error
        issuer, page = self._services.provider.url, f"{self._services.url}/login"
        return JSONResponse({"issuer": issuer, "device": has_device, "page": page})

    async def begin(self, request: Request) -> Response:
        """Begin a sign-in: the code that the person enters, and where."""
        request.scope[AUDIT_NOTE] = AuditNote(is_nothing=True)
        self._services.count(request)
        try:
            code = await self._services.provider.begin_device()
        except IssuerError as error:
            raise _refused(error) from error
        end = self._services.now().timestamp() + code.seconds
        sealed = self._services.seals.seal(_PURPOSE, json.dumps([code.device_code, end]))
        answer = {
            "device": sealed,
            "userCode": code.user_code,
            "verificationUri": code.verification_uri,
            "verificationUriComplete": code.verification_uri_complete,
            "interval": code.interval,
            "expiresIn": code.seconds,
        }
        return JSONResponse(answer, 201, {"Cache-Control": "no-store"})

    async def finish(self, request: Request) -> Response:
        """Answer the token of a session once the person has confirmed; 202 until then."""
        self._services.count(request)
        device = await self._device(request)
        try:
            identity = await self._services.provider.by_device(device)
            request.scope[AUDIT_NOTE] = AuditNote(user=identity.name)
            started = await self._services.sessions.begin(identity, is_page=False)
        except PendingError as error:
            request.scope[AUDIT_NOTE] = AuditNote(is_nothing=True)
            return JSONResponse({"pending": True, "slower": error.slower}, 202)
        except IssuerError as error:
            user = request.scope.get(AUDIT_NOTE, AuditNote()).user
            request.scope[AUDIT_NOTE] = AuditNote(user=user, reason=str(error))
            raise _refused(error) from error
        record = started.record
        request.scope[AUDIT_NOTE] = AuditNote(record.id, user=record.person)
        answer = {"token": started.token, "name": record.person, "ends": format_time(record.ends)}
        return JSONResponse(answer, 201, {"Cache-Control": "no-store"})

    async def list(self, request: Request) -> Response:
        """Answer the sessions of the client; with `all`, those of everybody, for an admin."""
        user = _user(request)
        person = "" if "all" in request.query_params else user.username
        if not person and not _is_admin(user):
            raise ApiError(403, "the sessions of everybody are an admin's to see: leave out --all")
        found = await self._services.sessions.list(person)
        items = [_document(one, user) for one in sorted(found, key=lambda one: one.created)]
        return JSONResponse({"items": items})

    async def end(self, request: Request) -> Response:
        """End a session: one's own, or, for an admin, anybody's."""
        user, name = _user(request), request.path_params["session"]
        wanted = user.session if name == _CURRENT else name
        own = await self._services.sessions.list("" if _is_admin(user) else user.username)
        if wanted not in {one.id for one in own}:
            raise ApiError(404, f"session {name[:100]} does not exist, or is not yours")
        ended = await self._services.sessions.end(wanted)
        person = ended[0].person if ended else user.username
        request.scope[AUDIT_NOTE] = AuditNote(wanted, reason=f"session of {person}")
        return JSONResponse({"ended": [wanted]})

    async def end_all(self, request: Request) -> Response:
        """End all sessions of a person: one's own, or, for an admin, anybody's."""
        user = _user(request)
        person = request.query_params.get("person") or user.username
        if person != user.username and not _is_admin(user):
            raise ApiError(403, f"only an admin ends the sessions of {person[:100]}")
        request.scope[AUDIT_NOTE] = AuditNote(reason=f"all sessions of {person}")
        found = [one.id for one in await self._services.sessions.list(person)]
        ended = await self._services.sessions.end(*found)
        return JSONResponse({"ended": [one.id for one in ended]})

    async def _device(self, request: Request) -> str:
        """Return the device code of a request; raises ApiError."""
        seconds = self._services.limits.body_seconds
        document = decode_object(await read_body(request, _MAX_BODY, seconds), "application/json")
        sealed = document.get("device")
        opened = self._services.seals.open(_PURPOSE, sealed) if isinstance(sealed, str) else None
        if opened is None:
            raise ApiError(400, "device: not of this server, or of another time: begin anew")
        code, end = json.loads(opened)
        if self._services.now() >= datetime.fromtimestamp(end, self._services.now().tzinfo):
            raise ApiError(403, "nobody has confirmed this sign-in in time: begin anew")
        return str(code)


def _user(request: Request) -> Principal:
    user: Principal = request.scope["user"]
    return user


def _is_admin(user: Principal) -> bool:
    return user.may(Action("delete", "sessions"))


def _document(record: SessionRecord, user: Principal) -> Mapping[str, Any]:
    return {
        "id": record.id,
        "person": record.person,
        "page": record.is_page,
        "current": record.id == user.session,
        "created": format_time(record.created),
        "used": format_time(record.used),
        "ends": format_time(record.ends),
    }


def _refused(error: IssuerError) -> ApiError:
    return ApiError(503 if error.retryable else 403, str(error))
