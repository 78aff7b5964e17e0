"""Query parameters that many requests share."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection, Request

from upwell.policy.access.roles import EVERYWHERE, Action, Grant, Role, is_allowed, missing
from upwell.server.auth.tokens import Principal
from upwell.server.http.errors import ApiError
from upwell.server.objects.writes import WriteOptions

ANONYMOUS = "anonymous"
"""Who acts without a token, where that is allowed."""
_MAX_MANAGER = 128
_MAX_DIGITS = 9


def is_true(request: HTTPConnection, name: str) -> bool:
    """Whether a parameter is set, as Kubernetes reads booleans: `?watch` is true as well."""
    value = request.query_params.get(name)
    return value is not None and value.lower() not in {"false", "0", "f"}


def integer(request: Request, name: str) -> int | None:
    """Return a parameter that counts something; None when absent. Raises ApiError."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ApiError(400, f"{name}: expected a number, found {text[:20]!r}")
    return int(text)


def caller_of(request: Request) -> str:
    """Return the name of who sends the request, as objects and logs tell it."""
    user = request.scope.get("user")
    return user.username if isinstance(user, Principal) and user.username else ANONYMOUS


def require_right(request: Request, action: Action) -> None:
    """Raise ApiError unless the client may do something beside what its request is for."""
    grants = _grants(request)
    if grants is not None and not is_allowed(grants, action):
        raise ApiError(403, f"token {caller_of(request)} may not {action}: {missing(action)}")


def write_options(request: Request) -> WriteOptions:
    """Return who writes and how; raises ApiError.

    `fieldValidation` is accepted and means Warn in every form: unknown fields are kept by design.
    """
    query = request.query_params
    dry_run = [value for value in query.getlist("dryRun") if value]
    if any(value != "All" for value in dry_run):
        raise ApiError(400, f"dryRun: expected All, found {dry_run[0]!r}")
    agent = request.headers.get("User-Agent", "").split("/", 1)[0].strip()
    manager = query.get("fieldManager") or agent or "unknown"
    if len(manager) > _MAX_MANAGER or not manager.isprintable():
        raise ApiError(400, f"fieldManager: at most {_MAX_MANAGER} printable characters")
    return WriteOptions(
        manager,
        dry_run=bool(dry_run),
        force=is_true(request, "force"),
        user=caller_of(request),
        everywhere=_is_master(request),
        grants=_grants(request),
    )


def _grants(request: Request) -> tuple[Grant, ...] | None:
    """Return what the client may do; None where nobody is asked for a token."""
    user = request.scope.get("user")
    return user.grants if isinstance(user, Principal) else None


def _is_master(request: Request) -> bool:
    """Whether the client may do everything; so may everybody where nobody is asked for a token."""
    user = request.scope.get("user")
    return not isinstance(user, Principal) or any(
        grant.role is Role.ADMIN and EVERYWHERE in grant.namespaces for grant in user.grants
    )


def is_dry(request: Request, options: Mapping[str, Any]) -> bool:
    """Whether a deletion with these DeleteOptions is only to be tried; raises ApiError."""
    return write_options(request).dry_run or bool(options.get("dryRun"))
