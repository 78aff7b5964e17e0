"""Admission of Subscriptions: one that sees every namespace needs the right to see them."""

from upwell.api.meta import Resource
from upwell.api.subscription import ALL_NAMESPACES, Subscription
from upwell.server.http.errors import ApiError


def require_reach(resource: Resource, *, everywhere: bool) -> None:
    """Raise ApiError 403 for a Subscription of all namespaces, unless its author may do all."""
    if isinstance(resource, Subscription) and resource.sees_all and not everywhere:
        raise ApiError(
            403,
            f'spec.namespaces ["{ALL_NAMESPACES}"] needs role admin in all namespaces',
            key=resource.key,
        )
