"""A firewall in memory."""

import asyncio
from collections.abc import AsyncIterator

from upwell.firewall.interface import FirewallError, FirewallTable


class FakeFirewall:
    """Implements Firewall: remembers the table, and fails when it is told to."""

    def __init__(self) -> None:
        self.table: FirewallTable | None = None
        self.fault = ""
        """Reason why no table can be applied."""
        self._wanted = False
        self._changed = asyncio.Event()

    async def apply(self, table: FirewallTable) -> None:
        """Remember the table."""
        if self.fault:
            raise FirewallError(self.fault)
        self.table, self._wanted = table, True

    async def remove(self) -> None:
        """Forget it."""
        self.table, self._wanted = None, False

    def lose(self) -> None:
        """Let somebody remove the table."""
        self.table = None
        self._changed.set()

    async def disruptions(self) -> AsyncIterator[str]:
        """Yield for each loss."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wanted:
                yield "lost"
