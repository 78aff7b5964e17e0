"""Words with the service manager: how this server is, and that its event loop runs."""

import asyncio
from collections.abc import Sequence

from upwell.machine.components import Components, ComponentState
from upwell.machine.service_manager import ServiceManager


async def keep_alive(manager: ServiceManager) -> None:
    """Give signs of life as often as the manager wants them.

    They come from the event loop: one that hangs is killed, and started anew.
    """
    seconds = manager.tick_seconds
    while seconds is not None:
        manager.alive()
        await asyncio.sleep(seconds)


async def report_status(manager: ServiceManager, components: Components, address: str) -> None:
    """Say where the server listens, and which components are faulty, whenever that changes."""
    said = ""
    async for states in components.changes():
        if (status := status_line(address, states)) != said:
            said = status
            manager.status(status)


async def report_stop(manager: ServiceManager, shutdown: asyncio.Event) -> None:
    """Say that the server stops as soon as it is asked to: answers under way take a while."""
    await shutdown.wait()
    manager.stopping()


def status_line(address: str, states: Sequence[ComponentState]) -> str:
    """Return the state of the server in one line."""
    faulty = [f"{one.name} ({one.reason})" for one in states if one.faulty]
    found = f"faulty: {', '.join(faulty)}; see `upwell status`" if faulty else "all is well"
    return f"listening on {address}; {found}"
