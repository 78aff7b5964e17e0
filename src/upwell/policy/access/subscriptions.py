"""Subscriptions that see the objects of all namespaces; pure."""

from upwell.api.meta import Resource
from upwell.api.subscription import Subscription


def reaches_everywhere(resource: Resource) -> bool:
    """Return True for a Subscription of all namespaces: it takes the right to see them."""
    return isinstance(resource, Subscription) and resource.sees_all
