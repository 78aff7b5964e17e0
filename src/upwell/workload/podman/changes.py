"""Tells any number of listeners whose instances changed."""

import asyncio
from collections.abc import AsyncIterator

from upwell.workload.instance_spec import Owner


class _Subscription:
    """Owners that one listener has yet to hear of, each once, in the order of the first change."""

    def __init__(self) -> None:
        self._pending: dict[Owner, None] = {}
        self._wake = asyncio.Event()

    def add(self, owner: Owner) -> None:
        self._pending[owner] = None
        self._wake.set()

    async def next(self) -> Owner:
        while not self._pending:
            self._wake.clear()
            await self._wake.wait()
        owner = next(iter(self._pending))
        del self._pending[owner]
        return owner


class OwnerChanges:
    """A broadcast that coalesces: a slow listener costs one entry for each owner at most."""

    def __init__(self) -> None:
        self._subscriptions: set[_Subscription] = set()

    def publish(self, owner: Owner) -> None:
        """Tell all listeners that something about the instances of `owner` changed."""
        for subscription in self._subscriptions:
            subscription.add(owner)

    async def listen(self) -> AsyncIterator[Owner]:
        """Yield owners as they are published from now on."""
        subscription = _Subscription()
        self._subscriptions.add(subscription)
        try:
            while True:
                yield await subscription.next()
        finally:
            self._subscriptions.discard(subscription)
