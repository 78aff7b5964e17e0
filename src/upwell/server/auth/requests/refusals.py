"""Refusals: errors of requests that are not served, and their answers in the client's protocol."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from upwell.server.auth.rate_limits import RateError
from upwell.server.auth.registry_access import challenge
from upwell.server.auth.request_info import action_of, is_registry
from upwell.server.http.bounded_body import EarlyResponse, drained
from upwell.server.http.errors import ApiError, status_of

_POLICY_VIOLATION = 1008
_DENIALS = "websocket.http.response"
"""The ASGI extension for answers to a websocket that is not accepted."""
_MAX_CLOSE_BYTES = 123
_PROXY_SCHEME = b"x-forwarded-proto"
"""Header in which a proxy tells how the client has reached it."""
_OCI_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}

_BASIC = 'Basic realm="upwell"'
_NEXT_STEP = "`upwell token create` makes one, UPWELL_TOKEN passes it to the command line"
_USE_TLS = "log in over https://, as without TLS oc and kubectl send no token"
CLIENT_GO = b" kubernetes/"
"""Part of the User-Agent of oc and kubectl, whatever their file is named: client-go's own. The
tokens of their configuration go over TLS alone."""
_TLS_SCHEMES = {"https", "wss"}


class UnauthenticatedError(ApiError):
    """The client has sent no token, or one that opens nothing here."""

    def __init__(self, why: str, next_step: str = _NEXT_STEP) -> None:
        super().__init__(401, f"{why}: {next_step}", reason="Unauthorized")


def without_token(scope: Scope) -> UnauthenticatedError:
    """Return the error for a client that has sent no token, with what this client can do."""
    agent: bytes = dict(scope["headers"]).get(b"user-agent", b"")
    withheld = CLIENT_GO in agent and not _over_tls(scope)
    return UnauthenticatedError("no token was sent", _USE_TLS if withheld else _NEXT_STEP)


class ChallengeError(UnauthenticatedError):
    """A registry client asks how to log in, where those without a login have a role, too.

    Answered with success, clients would send their login nowhere, and could not push. Those who
    have none get a token for what everyone may do; before Basic they would give up.
    """

    def __init__(self) -> None:
        super().__init__("no token was sent")


class ScopeError(ApiError):
    """A registry client has the right, but its token is for something else: it gets another."""

    def __init__(self, why: str) -> None:
        super().__init__(401, why, reason="Unauthorized")


async def refuse(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Answer with an error, in the form that the client's protocol has for it."""
    if scope["type"] == "websocket":
        await _refuse_websocket(scope, receive, send, error)
    else:
        answer = await _refusal(scope, receive, error)
        await answer(scope, receive, send)


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Answer before it is accepted; where the server cannot, it answers 403 to a close."""
    await receive()
    if _DENIALS in scope.get("extensions", {}):
        await JSONResponse(status_of(error), error.code)(scope, receive, send)
        return
    reason = str(error).encode()[:_MAX_CLOSE_BYTES].decode(errors="ignore")
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})


async def _refusal(scope: Scope, receive: Receive, error: ApiError) -> Response:
    headers = {}
    if isinstance(error, RateError):
        headers["Retry-After"] = str(error.retry_after)
    elif error.code in {429, 503}:
        headers["Retry-After"] = "1"
    answer = JSONResponse if await drained(Request(scope, receive)) else EarlyResponse
    content: object = status_of(error)
    if is_registry(scope):
        entry = {"code": _OCI_CODES[error.code], "message": str(error), "detail": None}
        content = {"errors": [entry]}
    response = answer(content, error.code, headers)
    if error.code == 401:  # noqa: PLR2004 - Unauthorized
        for text in _challenges(scope, error):
            response.headers.append("WWW-Authenticate", text)
    return response


def _challenges(scope: Scope, error: ApiError) -> list[str]:
    if not is_registry(scope):
        return ['Bearer realm="upwell"']
    for_token = _token_challenge(scope, error)
    return [for_token] if isinstance(error, ChallengeError) else [_BASIC, for_token]


def _token_challenge(scope: Scope, error: ApiError) -> str:
    """Return the challenge for those who want a token; Basic comes before it."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"localhost").decode("latin-1").replace('"', "")
    # Whoever says so, it can but move the login of this client from the plain port to TLS.
    address = f"{'https' if _behind_tls(scope) else scope.get('scheme', 'http')}://{host}"
    why = "insufficient_scope" if isinstance(error, ScopeError) else ""
    return challenge(address, action_of(scope), scope["path"], why)


def _behind_tls(scope: Scope) -> bool:
    """Return True if a proxy says that the client has reached it over TLS."""
    scheme: bytes = dict(scope["headers"]).get(_PROXY_SCHEME, b"")
    return scheme.strip().lower() == b"https"


def _over_tls(scope: Scope) -> bool:
    return scope.get("scheme", "http") in _TLS_SCHEMES or _behind_tls(scope)
