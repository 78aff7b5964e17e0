"""Sign-in of browsers (authorization code flow with PKCE), and the page of one's own sessions.

What a browser must bring back lies in a sealed cookie of that browser: so no address makes it end
the sign-in of somebody else, and where it goes afterwards is never read from a request.
"""

import hmac
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_urlsafe
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.server.auth.foreign_tokens import IssuerError
from upwell.server.auth.people import SIGN_IN
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.http.errors import ApiError
from upwell.server.http.forms import read_form
from upwell.server.http.html import SECURITY_HEADERS, message_page
from upwell.server.signin.account_page import account_page
from upwell.server.signin.records import SessionRecord
from upwell.server.signin.services import SignIn
from upwell.store.interface import StoreError

LOGIN, ACCOUNT, CALLBACK = "/login", "/account", f"{SIGN_IN}/callback"
_LOGIN_PURPOSE, _FORM_PURPOSE = "login", "form"
_LOGIN_SECONDS = 600
_RANDOM_BYTES = 32
_MAX_FORM_BYTES = 4096
_SEE_OTHER = 303


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sign-in that has begun in a browser."""

    state: str
    nonce: str
    verifier: str
    page: str
    """Path of the page that goes on afterwards."""
    ends: float


class SignInPages:
    """Answers browsers."""

    def __init__(self, services: SignIn) -> None:
        self._services = services
        self._is_secure = services.url.startswith("https:")
        prefix = "__Host-" if self._is_secure else ""
        self._session_cookie = f"{prefix}upwell-session"
        self._login_cookie = f"{prefix}upwell-login"

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route(LOGIN, _shown(self._login), methods=["GET"]),
            Route(CALLBACK, _shown(self._callback), methods=["GET"]),
            Route(ACCOUNT, _shown(self._account), methods=["GET", "POST"]),
        ]

    def knows(self, name: str) -> bool:
        """Return True for the name of somebody who signs in."""
        return self._services.sessions.owns(name)

    async def principal(self, request: Request, path: str) -> Principal | Response:
        """Return who is signed in, or the answer that has the browser sign in for a page.

        `path` is that of the page, which the sign-in comes back to. Raises ApiError.
        """
        found = await self._signed_in(request)
        return found[1] if found is not None else await self._begin(request, path)

    async def _login(self, request: Request) -> Response:
        return await self._begin(request, ACCOUNT)

    async def _begin(self, request: Request, page: str) -> Response:
        self._services.count(request)
        state, nonce, verifier = (token_urlsafe(_RANDOM_BYTES) for _ in range(3))
        redirect = f"{self._services.url}{CALLBACK}"
        try:
            provider = self._services.provider
            where = await provider.authorization_url(redirect, state, nonce, verifier)
        except IssuerError as error:
            raise _refused(error) from error
        ends = self._services.now().timestamp() + _LOGIN_SECONDS
        said = json.dumps([state, nonce, verifier, page, ends])
        response = RedirectResponse(where, _SEE_OTHER, SECURITY_HEADERS)
        sealed = self._services.seals.seal(_LOGIN_PURPOSE, said)
        self._set(response, self._login_cookie, sealed, _LOGIN_SECONDS)
        return response

    async def _callback(self, request: Request) -> Response:
        """End a sign-in: the browser that has begun it gets a new session, whatever it had."""
        self._services.count(request)
        begun = self._begun(request)
        query = request.query_params
        if not hmac.compare_digest(query.get("state", "").encode(), begun.state.encode()):
            raise ApiError(403, f"This answer is of another sign-in: begin anew at {self._start}.")
        if query.get("iss", self._services.provider.url) != self._services.provider.url:
            raise ApiError(403, "This answer is of another issuer (RFC 9207).")
        if "code" not in query:
            raise ApiError(403, f"The provider signed nobody in: begin anew at {self._start}.")
        redirect = f"{self._services.url}{CALLBACK}"
        try:
            identity = await self._services.provider.by_code(
                query["code"], redirect, begun.nonce, begun.verifier
            )
            request.scope[AUDIT_NOTE] = AuditNote(user=identity.name)
            started = await self._services.sessions.begin(identity, is_page=True)
        except IssuerError as error:
            user = request.scope.get(AUDIT_NOTE, AuditNote()).user
            request.scope[AUDIT_NOTE] = AuditNote(user=user, reason=str(error))
            raise _refused(error) from error
        with suppress(ApiError):  # one that nobody confirms any more opens nothing
            if (before := await self._signed_in(request)) is not None:
                await self._services.sessions.end(before[0].id)
        record = started.record
        request.scope[AUDIT_NOTE] = AuditNote(record.id, user=record.person)
        response = RedirectResponse(begun.page, _SEE_OTHER, SECURITY_HEADERS)
        seconds = int((record.ends - record.created).total_seconds())
        self._set(response, self._session_cookie, started.token, seconds)
        self._unset(response, self._login_cookie)
        return response

    async def _account(self, request: Request) -> Response:
        found = await self._signed_in(request)
        if found is None:
            if request.method == "POST":
                raise ApiError(403, f"Nobody is signed in: begin at {self._start}.")
            return RedirectResponse(LOGIN, _SEE_OTHER, SECURITY_HEADERS)
        record, user = found
        if request.method == "POST":
            return await self._end(request, record)
        sessions = await self._services.sessions.list(user.username)
        form = self._services.seals.seal(_FORM_PURPOSE, record.id)
        return _page(account_page(user, sessions, form))

    async def _end(self, request: Request, record: SessionRecord) -> Response:
        """End a session of the person who is signed in, as a form of their own page asks."""
        form = await self._form(request, record)
        wanted = form.get("end", "")
        own = await self._services.sessions.list(record.person)
        if wanted not in {one.id for one in own}:
            raise ApiError(404, "This session has ended already.")
        request.scope[AUDIT_NOTE] = AuditNote(wanted, user=record.person, reason="session ended")
        await self._services.sessions.end(wanted)
        if wanted != record.id:
            return RedirectResponse(ACCOUNT, _SEE_OTHER, SECURITY_HEADERS)
        response = _page(message_page("You are signed out."))
        self._unset(response, self._session_cookie)
        return response

    async def _form(self, request: Request, record: SessionRecord) -> dict[str, str]:
        """Return a form of a page that this browser was shown; raises ApiError."""
        require_same_origin(request, self._services.url)
        form = await read_form(request, _MAX_FORM_BYTES, self._services.limits.body_seconds)
        if self._services.seals.open(_FORM_PURPOSE, form.get("form", "")) != record.id:
            raise ApiError(403, "This form is of another session: load the page again.")
        return form

    async def _signed_in(self, request: Request) -> tuple[SessionRecord, Principal] | None:
        cookie = request.cookies.get(self._session_cookie, "")
        return await self._services.sessions.page(cookie)

    def _begun(self, request: Request) -> _Begun:
        """Return the sign-in that this browser has begun; raises ApiError."""
        cookie = request.cookies.get(self._login_cookie, "")
        opened = self._services.seals.open(_LOGIN_PURPOSE, cookie)
        begun = None if opened is None else _Begun(*json.loads(opened))
        if begun is None or begun.ends <= self._services.now().timestamp():
            message = "This sign-in was begun in another browser, or too long ago"
            raise ApiError(403, f"{message}: begin anew at {self._start}.")
        return begun

    @property
    def _start(self) -> str:
        return f"{self._services.url}{LOGIN}"

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        """Set a cookie for this server alone; Lax, as the provider's answer comes from its site."""
        response.set_cookie(
            name, value, seconds, path="/", secure=self._is_secure, httponly=True, samesite="lax"
        )

    def _unset(self, response: Response, name: str) -> None:
        response.delete_cookie(
            name, path="/", secure=self._is_secure, httponly=True, samesite="lax"
        )


type _Handler = Callable[[Request], Awaitable[Response]]


def _shown(answer: _Handler) -> _Handler:
    """Return a handler that tells errors as pages."""

    async def handle(request: Request) -> Response:
        try:
            return await answer(request)
        except ApiError as error:
            return _page(message_page(str(error)), error.code)
        except StoreError as error:
            return _page(message_page(f"{error}."), 503)

    return handle


def require_same_origin(request: Request, url: str) -> None:
    """Raise ApiError for a form that a page of another origin has sent (Fetch Metadata)."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "null")  # null, too, where no Referer may be sent
    is_own = origin == "null" or urlsplit(origin)[:2] == urlsplit(url)[:2]
    if site != "same-origin" or not is_own:
        raise ApiError(403, f"A form of another site is not taken: open {url}{ACCOUNT} yourself.")


def _page(html: str, code: int = 200) -> Response:
    return HTMLResponse(html, code, SECURITY_HEADERS)


def _refused(error: IssuerError) -> ApiError:
    return ApiError(503 if error.retryable else 403, f"{error}.")
