"""A runtime in memory that counts how often its instances are listed."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import override

from tests.support.rollouts.memory_machine import FakeRuntime

from upwell.workload.interface import Instance


class CountingRuntime(FakeRuntime):
    """Shows instances of a test's choice, counts its lists, and lets one wait."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self.shown: dict[str, Instance] = {}
        self.lists = 0
        self.may_list = asyncio.Event()
        self.may_list.set()
        self.listing = asyncio.Event()
        """Set while a list waits."""

    @override
    async def instances(self) -> Sequence[Instance]:
        self.lists += 1
        found = await super().instances()
        if not self.may_list.is_set():
            self.listing.set()
            await self.may_list.wait()
        return found

    @override
    def observed(self) -> list[Instance]:
        return list(self.shown.values())

    def put(self, one: Instance) -> None:
        """Show an instance as it is now, and tell of the change."""
        self.shown[one.name] = one
        self.tell(one.owner)
