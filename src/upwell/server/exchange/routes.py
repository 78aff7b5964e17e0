"""POST /oauth/token: exchange of a token (RFC 8693), open to everyone who has one."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.policy.access.service_accounts import account_name
from upwell.server.auth.rate_limits import Rate, Rates
from upwell.server.auth.request_info import AUDIT_NOTE, TOKEN_EXCHANGE_PATH, AuditNote
from upwell.server.exchange.exchange import ExchangeError, TokenExchange
from upwell.server.http.errors import ApiError
from upwell.server.http.forms import read_form
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import Store

_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a type
_MAX_BODY = 256 * 1024
_NO_FORM = {400, 415}
_RATE = Rate(per_second=2, burst=60)
"""Exchanges of one address: each has a signature checked."""


class InvalidExchangeError(ExchangeError):
    """The request itself says too little, or something that nobody asked for."""

    error = "invalid_request"


class UnsupportedGrantError(ExchangeError):
    """Another grant of OAuth was asked for."""

    error = "unsupported_grant_type"


class NoRulesError(UnsupportedGrantError):
    """The administrator has named nobody whose tokens are exchanged."""

    def __init__(self) -> None:
        super().__init__(
            "this server exchanges no tokens: [[token-exchange]] of its configuration file says"
            " whose it takes, and for which ServiceAccount"
        )


def create_routes(
    exchange: TokenExchange | None,
    store: Store,
    limits: ServerLimits,
    elapsed: Callable[[], float],
) -> list[BaseRoute]:
    """Return the route; without rules it says so to whoever asks. `elapsed` counts seconds."""
    rates = Rates(elapsed)

    async def create(request: Request) -> Response:
        client = request.client.host if request.client else ""
        rates.take(f"address {client}", _RATE)
        try:
            if exchange is None:
                raise NoRulesError
            form = await _form(request, limits.body_seconds)
            made = await exchange.exchange(store, form["subject_token"], form.get("scope", ""))
        except ExchangeError as error:
            request.scope[AUDIT_NOTE] = AuditNote(reason=str(error), denied=True)
            return _refusal(error)
        except ApiError as error:
            request.scope[AUDIT_NOTE] = AuditNote(reason=str(error), denied=True)
            raise
        rule = made.rule
        name = account_name(rule.namespace, rule.account)
        request.scope[AUDIT_NOTE] = AuditNote(
            user=name, namespace=rule.namespace, name=rule.account, reason=made.reason
        )
        answer = {
            "access_token": made.token.token,
            "issued_token_type": _ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": int(made.lifetime.total_seconds()),
            "scope": name,
        }
        return JSONResponse(answer, headers=_UNCACHED)

    return [Route(TOKEN_EXCHANGE_PATH, create, methods=["POST"])]


_UNCACHED = {"Cache-Control": "no-store"}


async def _form(request: Request, seconds: float) -> dict[str, str]:
    """Return the form's fields; raises ExchangeError for one that asks for something else."""
    try:
        form = await read_form(request, _MAX_BODY, seconds)
    except ApiError as error:
        if error.code not in _NO_FORM:
            raise
        raise InvalidExchangeError(str(error)) from error
    if form.get("grant_type") != _GRANT_TYPE:
        raise UnsupportedGrantError(f"grant_type: expected {_GRANT_TYPE}")
    if form.get("subject_token_type") not in {_JWT, _ID_TOKEN}:
        raise InvalidExchangeError(f"subject_token_type: expected {_JWT} or {_ID_TOKEN}")
    if form.get("requested_token_type", _ACCESS_TOKEN) not in {_ACCESS_TOKEN, _JWT}:
        raise InvalidExchangeError(f"requested_token_type: expected {_ACCESS_TOKEN}")
    for unsupported in ("actor_token", "resource", "audience"):
        if unsupported in form:
            raise InvalidExchangeError(f"{unsupported} is not supported: leave it out")
    if "subject_token" not in form:
        raise InvalidExchangeError("subject_token is missing")
    return form


def _refusal(error: ExchangeError) -> Response:
    content = {"error": error.error, "error_description": str(error)}
    return JSONResponse(content, error.status, _UNCACHED)
