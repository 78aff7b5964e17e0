"""The client's view of write-only values, as the middleware in front has put it."""

from starlette.requests import Request

from upwell.policy.access.visibility import EVERYTHING_VISIBLE, SecretView

VIEW = "upwell.view"
"""Key of the scope under which it is; without one, nobody is asked for a token."""


def view_of(request: Request) -> SecretView:
    """Return how the client of a request sees objects."""
    found = request.scope.get(VIEW)
    return found if isinstance(found, SecretView) else EVERYTHING_VISIBLE
