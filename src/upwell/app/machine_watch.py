"""Watches of the machine below the server: its disks, its clock, its descriptors."""

import asyncio
import logging
from datetime import timedelta

from upwell.formats.human_duration import human_duration
from upwell.machine.clock import ClockJump, SteadyClock, until_tick
from upwell.machine.components import Components, WatchedComponent
from upwell.machine.descriptors import descriptor_use
from upwell.machine.disk import DiskPressure, DiskSpace, KeptBackRoom

log = logging.getLogger(__name__)

_DISK_SECONDS = 2.0
_DESCRIPTOR_SECONDS = 2.0
_CLOCK_SECONDS = 1.0


async def watch_disk(disk: DiskSpace, kept_back: KeptBackRoom, components: Components) -> None:
    """Report as component `storage` whether there is room on every file system."""
    storage = components.add("storage")
    room = components.add("storage-room", required=False)

    def look() -> None:
        disk.look()
        kept_back.adjust(pressed=disk.fault is not None)

    while True:
        await asyncio.to_thread(look)
        _warn(room, disk.warning)
        fault, before = disk.fault, storage.state
        if fault is not None:
            storage.fail(fault.reason, fault.message)
        else:
            storage.recover()
        if storage.state.reason != before.reason:
            log.warning(
                "disk pressure" if fault else "disk pressure is over",
                extra={"reason": storage.state.reason, "why": storage.state.message},
            )
        await asyncio.sleep(until_tick(_DISK_SECONDS))


def _warn(room: WatchedComponent, warning: DiskPressure | None) -> None:
    """Report as component `storage-room` that a file system fills up."""
    if warning is None:
        room.recover()
        return
    if not room.state.faulty:
        log.warning("a disk fills up", extra={"why": warning.message})
    room.fail(warning.reason, warning.message)


async def watch_descriptors(components: Components) -> None:
    """Report as component `file-descriptors` that few are left."""
    component = components.add("file-descriptors", required=False)
    while True:
        fault = descriptor_use().fault
        if fault:
            if not component.state.faulty:
                log.warning("few file descriptors are left", extra={"why": fault})
            component.fail("TooManyOpenFiles", fault)
        else:
            component.recover()
        await asyncio.sleep(until_tick(_DESCRIPTOR_SECONDS))


async def watch_clock(clock: SteadyClock, components: Components) -> None:
    """Report as component `clock` that the machine's clock has jumped, until it is believed."""
    component = components.add("clock", required=False)
    before: ClockJump | None = None
    while True:
        jump = clock.observe()
        if jump is not None:
            component.fail("ClockJumped", _said(jump))
        else:
            component.recover()
        if jump != before:
            log.warning(
                "clock jumped" if jump else "clock is believed again",
                extra={"why": component.state.message},
            )
        before = jump
        await asyncio.sleep(until_tick(_CLOCK_SECONDS))


def _said(jump: ClockJump) -> str:
    """Return by how much, what it means, and what is done."""
    by = timedelta(seconds=round(abs(jump.by).total_seconds()))
    ahead = "ahead of" if jump.by > timedelta() else "behind"
    until = (jump.adopted_at + jump.by).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"the machine's clock jumped: it is {human_duration(by)} {ahead} the time that"
        " has passed since the server started. Waits, deadlines and schedules go on by the time"
        f" that has passed; the new time is taken over at {until} by the machine's clock, if it"
        " stays, or at the next start: check `timedatectl`, and set the clock if it is wrong"
    )
