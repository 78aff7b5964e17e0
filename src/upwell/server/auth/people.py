"""People who have signed in, as authentication and authorization need them."""

from typing import Protocol

from upwell.policy.access.roles import Grant
from upwell.server.auth.principals import Principal

SESSION_PREFIX = "upwell_oidc:"
"""Begins the tokens of sessions; no token of a Secret has a colon in its name."""
SIGN_IN = "/oidc"
"""The path under which people sign in, and see and end their sessions."""
SESSIONS = f"{SIGN_IN}/sessions"
OPEN_PATHS = frozenset(
    {SIGN_IN, f"{SIGN_IN}/device", f"{SIGN_IN}/token", "/login", f"{SIGN_IN}/callback", "/account"}
)
"""Paths that ask for no token: they make sessions, or have a browser's cookie."""
BEGINNINGS = frozenset({f"{SIGN_IN}/token", f"{SIGN_IN}/callback"})
"""Paths that may begin a session."""


class People(Protocol):
    """Knows who has signed in."""

    def owns(self, name: str) -> bool:
        """Return True if a principal's name is that of a person."""
        ...

    async def principal(self, token: str) -> Principal | None:
        """Return whose session a token opens; None for one that is unknown or has ended.

        Raises ApiError 503 where the provider has not been heard of for too long.
        """
        ...

    async def grants(self, name: str) -> tuple[Grant, ...]:
        """Return what a person may do, by their last known groups; none after some time."""
        ...


def is_sessions_path(path: str) -> bool:
    """Return True for the sessions of people: each sees and ends their own."""
    return path == SESSIONS or path.startswith(f"{SESSIONS}/")
