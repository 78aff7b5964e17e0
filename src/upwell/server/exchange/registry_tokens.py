"""Endpoint that gives registry clients tokens for their login (spec/auth/token.md, oauth.md)."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.machine.clock import now
from upwell.server.auth.middleware import AccessControl
from upwell.server.auth.principals import Principal
from upwell.server.auth.registry_access import (
    LIFETIME,
    LOGIN,
    REGISTRY_TOKEN_PATH,
    is_registry_access,
    scopes_of,
    wanted,
)
from upwell.server.http.errors import ApiError
from upwell.server.http.forms import read_form

_MAX_FORM = 64 * 1024
_FORM_SECONDS = 10.0
_TRUE = {"1", "true"}
_LOGIN_FIELDS = {"password": "password", "refresh_token": "refresh_token"}
"""By grant_type (RFC 6749, 4.3 and 6): the field that has the login."""


def create_routes(access: AccessControl | None) -> list[BaseRoute]:
    """Return the route; without access control there is none, since nobody needs a token."""
    if access is None:
        return []
    endpoint = _TokenEndpoint(access)
    return [
        Route(REGISTRY_TOKEN_PATH, endpoint.get, methods=["GET"]),
        Route(REGISTRY_TOKEN_PATH, endpoint.post, methods=["POST"]),
    ]


class _TokenEndpoint:
    """Gives tokens."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access

    async def get(self, request: Request) -> Response:
        """Answer one who has logged in by the Authorization header."""
        query = request.query_params
        keeps = query.get("offline_token", "") in _TRUE
        login: str = request.scope.get(LOGIN, "")
        return self._answer(login, request.scope["user"], query.getlist("scope"), keeps=keeps)

    async def post(self, request: Request) -> Response:
        """Answer one who sends the login in a form, as OAuth 2 has it."""
        form = await read_form(request, _MAX_FORM, _FORM_SECONDS)
        login = form.get(_LOGIN_FIELDS.get(form.get("grant_type", ""), ""), "")
        owner = await self._access.principal(login) if login else None
        if owner is None or is_registry_access(login) or self._access.is_local_alone(owner):
            raise ApiError(401, "the login is unknown or has expired", reason="Unauthorized")
        keeps = form.get("access_type") == "offline"
        return self._answer(login, owner, form.get("scope", "").split(), keeps=keeps)

    def _answer(
        self, login: str, owner: Principal, scopes: list[str], *, keeps: bool
    ) -> JSONResponse:
        asked = wanted(login, [one for scope in scopes for one in scope.split()])
        token = self._access.registry_tokens.issue(asked)
        content = {
            "token": token,
            "access_token": token,
            "expires_in": LIFETIME,
            "issued_at": now().isoformat(timespec="seconds"),
            "scope": " ".join(scopes_of(asked.granted(owner))),
        }
        if keeps and login:
            content["refresh_token"] = login
        return JSONResponse(content, headers={"Cache-Control": "no-store"})
