"""Sends events to other systems and to people: CloudEvents over webhooks, notices through Apprise.

`collector` puts the events of objects into the outbox, `dispatcher` sends them, `reconciler`
writes how that goes into each Subscription and makes digests.
"""

from upwell.reconcilers.notifications.wiring import Senders, Subscriptions

__all__ = ["Senders", "Subscriptions"]
