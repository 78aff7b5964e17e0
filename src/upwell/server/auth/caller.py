"""The client behind a request: its name, and what it may do."""

from starlette.requests import Request

from upwell.policy.access.roles import Action, Grant, is_allowed, missing
from upwell.server.auth.tokens import Principal
from upwell.server.http.errors import ApiError

ANONYMOUS = "anonymous"
"""Name of a client without a token, where that is allowed."""


def caller_of(request: Request) -> str:
    """Return the name of the client, as objects and logs tell it."""
    user = request.scope.get("user")
    return user.username if isinstance(user, Principal) and user.username else ANONYMOUS


def require_right(request: Request, action: Action) -> None:
    """Raise ApiError unless the client may do something beside what its request is for."""
    grants = grants_of(request)
    if grants is not None and not is_allowed(grants, action):
        raise ApiError(403, f"token {caller_of(request)} may not {action}: {missing(action)}")


def grants_of(request: Request) -> tuple[Grant, ...] | None:
    """Return what the client may do; None where nobody is asked for a token."""
    user = request.scope.get("user")
    return user.grants if isinstance(user, Principal) else None
