"""The one reading of the machine's clock; what must not wait in a test gets a Clock injected."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return now()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
