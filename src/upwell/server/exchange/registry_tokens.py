"""Endpoint that gives registry clients tokens for their login (spec/auth/token.md, oauth.md).

What is refused has a line in the audit log, always. What is given has one, but not again while the
last such token of the client counts, and no more than a few a minute for each login: whoever may
pull pushes nothing out of the log.
"""

from collections import Counter, OrderedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.machine.clock import now
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.principals import Principal
from upwell.server.auth.rate_limits import Rate, RateError, Rates
from upwell.server.auth.registry_access import (
    LIFETIME,
    LOGIN,
    REGISTRY_TOKEN_PATH,
    RegistryAccess,
    is_registry_access,
    scopes_of,
    wanted,
)
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.http.errors import ApiError
from upwell.server.http.forms import read_form

_MAX_FORM = 64 * 1024
_FORM_SECONDS = 10.0
_TRUE = {"1", "true"}
_LOGIN_FIELDS = {"password": "password", "refresh_token": "refresh_token"}
"""By grant_type (RFC 6749, 4.3 and 6): the field that has the login."""

_SCOPE, _REFUSED = "upwell.dev/scope", "upwell.dev/scope-refused"
_LEFT_OUT = "upwell.dev/tokens-without-a-line"
_LINES = Rate(0.1, 30)
"""Lines of a login: six a minute in the long run."""
_MAX_GIVEN = 10_000
"""Lines whose times are remembered; the oldest goes first."""


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
        self._lines = _GrantLines(access)

    async def get(self, request: Request) -> Response:
        """Answer one who has logged in by the Authorization header."""
        query = request.query_params
        keeps = query.get("offline_token", "") in _TRUE
        login: str = request.scope.get(LOGIN, "")
        scopes = " ".join(query.getlist("scope"))
        owner: Principal = request.scope["user"]
        return self._answer(request, wanted(login, scopes.split()), owner, keeps=keeps)

    async def post(self, request: Request) -> Response:
        """Answer one who sends the login in a form, as OAuth 2 has it."""
        form = await read_form(request, _MAX_FORM, _FORM_SECONDS)
        login = form.get(_LOGIN_FIELDS.get(form.get("grant_type", ""), ""), "")
        owner = await self._access.principal(login) if login else None
        if owner is None or is_registry_access(login) or self._access.is_local_alone(owner):
            raise ApiError(401, "the login is unknown or has expired", reason="Unauthorized")
        keeps = form.get("access_type") == "offline"
        asked = wanted(login, form.get("scope", "").split())
        return self._answer(request, asked, owner, keeps=keeps)

    def _answer(
        self, request: Request, asked: RegistryAccess, owner: Principal, *, keeps: bool
    ) -> JSONResponse:
        granted = asked.granted(owner)
        request.scope[AUDIT_NOTE] = self._lines.note(request, owner, asked, granted)
        token = self._access.registry_tokens.issue(asked)
        content = {
            "token": token,
            "access_token": token,
            "expires_in": LIFETIME,
            "issued_at": now().isoformat(timespec="seconds"),
            "scope": " ".join(scopes_of(granted)),
        }
        if keeps and asked.login:
            content["refresh_token"] = asked.login
        return JSONResponse(content, headers={"Cache-Control": "no-store"})


class _GrantLines:
    """Decides which tokens have a line in the audit log."""

    def __init__(self, access: AccessControl) -> None:
        self._clock = access.clock
        self._rates = Rates(access.clock)
        self._given: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        """Time of the line by login, address and scopes."""
        self._left_out: Counter[str] = Counter()
        """Tokens without a line, by login, since its last line."""

    def note(
        self, request: Request, owner: Principal, asked: RegistryAccess, granted: RegistryAccess
    ) -> AuditNote:
        """Return what the line of a token says, or that there is none."""
        scopes, refused = _text(granted), _text(asked.without(granted))
        facts = {_SCOPE: scopes} if scopes else {}
        if refused:
            facts[_REFUSED] = refused
            return AuditNote(user=owner.username, annotations=facts, denied=True)
        if not self._is_due(owner.username, _address(request), scopes):
            self._left_out[owner.username] += 1
            return AuditNote(is_nothing=True)
        if left_out := self._left_out.pop(owner.username, 0):
            facts[_LEFT_OUT] = str(left_out)
        return AuditNote(user=owner.username, annotations=facts)

    def _is_due(self, user: str, address: str, scopes: str) -> bool:
        now, key = self._clock(), (user, address, scopes)
        if now - self._given.get(key, -LIFETIME) < LIFETIME:
            return False
        try:
            self._rates.take(user or address, _LINES)
        except RateError:
            return False
        self._given[key] = now
        self._given.move_to_end(key)
        if len(self._given) > _MAX_GIVEN:
            self._given.popitem(last=False)
        return True


def _text(access: RegistryAccess) -> str:
    return " ".join(scopes_of(access))


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
