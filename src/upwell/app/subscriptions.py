"""Subscriptions, composed with their adapters."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime

from upwell import __version__
from upwell.controller import ObjectCache
from upwell.delivery.apprise import Notices
from upwell.delivery.sqlite import SqliteOutbox
from upwell.delivery.webhook import Webhooks
from upwell.outbound.dialing import Dialer
from upwell.reconcilers.authority import AuthorGrants, Authority
from upwell.reconcilers.notifications import Senders, Subscriptions
from upwell.settings import ServerSettings


async def subscriptions(
    settings: ServerSettings,
    cache: ObjectCache,
    clock: Callable[[], datetime],
    dialer: Dialer,
    authors: AuthorGrants | None,
    stack: AsyncExitStack,
) -> Subscriptions:
    """Open the outbox and the ways to send, which the stack closes; raises OutboxError."""
    outbox = SqliteOutbox(settings.data_dir / "deliveries.db")
    stack.callback(outbox.close)
    notices = Notices(dialer.policy)
    stack.callback(notices.close)
    webhooks = await stack.enter_async_context(Webhooks.open(__version__, dialer))
    return Subscriptions(
        cache, Senders(outbox, webhooks, notices), settings.url, clock, Authority(authors)
    )
