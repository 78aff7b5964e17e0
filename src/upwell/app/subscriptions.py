"""Subscriptions, composed with their adapters."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from upwell import __version__
from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.controller import ObjectCache
from upwell.delivery.apprise import Notices
from upwell.delivery.sqlite import SqliteOutbox
from upwell.delivery.webhook import Webhooks
from upwell.encryption.keyring import Keyring
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.outbound.dialing import Dialer
from upwell.reconcilers.authority import Authority, AuthorRights
from upwell.reconcilers.notifications import Senders, Subscriptions
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox
from upwell.settings import ServerSettings


async def open_outbox(data: Path, keyring: Keyring, stack: AsyncExitStack) -> SqliteOutbox:
    """Open the outbox, which the stack closes; raises OutboxError or EncryptionKeyError."""
    outbox = await asyncio.to_thread(partial(SqliteOutbox, data / "deliveries.db", keyring=keyring))
    stack.callback(outbox.close)
    return outbox


def shared_outbox(
    cluster: OpenedCluster | None, outbox: SqliteOutbox, components: Components
) -> SharedOutbox | None:
    """Return what replicas share of an outbox; None: there are no others."""
    if cluster is None:
        return None
    return SharedOutbox(
        cluster.client,
        outbox,
        cluster.lease.namespace,
        cluster.lease.name,
        now,
        components.add("outbox", required=False),
    )


async def subscriptions(
    settings: ServerSettings,
    cache: ObjectCache,
    outbox: SqliteOutbox,
    dialer: Dialer,
    authors: AuthorRights,
    shared: SharedOutbox | None,
    stack: AsyncExitStack,
) -> Subscriptions:
    """Open the ways to send, which the stack closes."""
    notices = Notices(dialer.policy)
    stack.callback(notices.close)
    webhooks = await stack.enter_async_context(Webhooks.open(__version__, dialer))
    return Subscriptions(
        cache,
        Senders(outbox, webhooks, notices, shared),
        settings.public_url,
        now,
        Authority(authors),
    )
