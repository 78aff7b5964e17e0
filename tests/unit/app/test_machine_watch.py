"""Watches of disk and clock: what they report."""

import os
from pathlib import Path

from tests.support.component_reports import running, state

from upwell.app.machine_watch import watch_clock, watch_disk
from upwell.machine.clock import SteadyClock
from upwell.machine.components import Components
from upwell.machine.disk import DiskSpace, KeptBackRoom


async def test_a_disk_below_its_floor_is_a_fault_of_storage(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    size = facts.f_blocks * facts.f_frsize
    components = Components()
    kept_back = KeptBackRoom(tmp_path / "kept-back")
    async with running(watch_disk(DiskSpace([tmp_path], floor=2 * size), kept_back, components)):
        found = await state(components, lambda one: one.faulty)

    assert (found.name, found.reason, found.required) == ("storage", "DiskPressure", True)
    assert str(tmp_path) in found.message


async def test_a_clock_that_jumped_is_said_with_what_is_done() -> None:
    wall, passed = [1_800_000_000.0], [100.0]
    clock, components = SteadyClock(lambda: wall[0], lambda: passed[0]), Components()
    wall[0] += 86_400
    async with running(watch_clock(clock, components)):
        found = await state(components, lambda one: one.faulty)
        assert (found.name, found.reason, found.required) == ("clock", "ClockJumped", False)
        assert "24h ahead of" in found.message
        assert "taken over at 2027-01-16 09:00:00 UTC" in found.message
        assert "timedatectl" in found.message

        wall[0] -= 86_400
        assert not (await state(components, lambda one: not one.faulty)).message
