"""Tells the outside world what happens: CloudEvents over webhooks, notices through Apprise.

`collector` puts what objects tell into the outbox, `dispatcher` carries it from there, `reconciler`
writes how that goes into each Subscription and makes digests.
"""

from upwell.reconcilers.notifications.requests import SubscriptionRequests
from upwell.reconcilers.notifications.wiring import Senders, Subscriptions

__all__ = ["Senders", "SubscriptionRequests", "Subscriptions"]
