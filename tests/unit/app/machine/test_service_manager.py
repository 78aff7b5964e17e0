"""Words that the service manager hears of a server: a test plays the manager."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from upwell.app.machine.service_manager import keep_alive, report_status, report_stop
from upwell.machine.components import Components
from upwell.machine.service_manager import ServiceManager

SECONDS = 30


class PlayedManager:
    """The socket of a manager."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    async def heard(self) -> dict[str, str]:
        """Return the next message."""
        async with asyncio.timeout(SECONDS):
            raw = await asyncio.get_running_loop().sock_recv(self._listener, 4096)
        return dict(line.split("=", 1) for line in raw.decode().split("\n"))


@asynccontextmanager
async def played(address: str) -> AsyncIterator[PlayedManager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(0)
        listener.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        yield PlayedManager(listener)


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"@{tmp_path}" if request.param == "abstract" else str(tmp_path / "notify")


def environment(address: str, **others: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "KEPT": "1", **others}


async def test_ready_status_and_stop_are_said(address: str) -> None:
    components = Components()
    storage = components.add("storage")
    shutdown = asyncio.Event()
    manager = ServiceManager.take(environment(address), 1)
    async with played(address) as other:
        manager.ready("listening\non X")
        assert await other.heard() == {"READY": "1", "STATUS": "listening on X"}
        async with asyncio.TaskGroup() as group:
            status = group.create_task(report_status(manager, components, "http://a:1"))
            group.create_task(report_stop(manager, shutdown))
            assert await other.heard() == {"STATUS": "listening on http://a:1; all is well"}
            storage.fail("DiskPressure", "full")
            said = (await other.heard())["STATUS"]
            assert said.endswith("; faulty: storage (DiskPressure); see `upwell status`")
            shutdown.set()
            assert (await other.heard())["STOPPING"] == "1"
            status.cancel()


async def test_signs_of_life_come_more_often_than_they_are_due(tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "notify"), timedelta(milliseconds=30))
    assert manager.tick_seconds == pytest.approx(0.01)
    async with played(manager.address) as other:
        task = asyncio.create_task(keep_alive(manager))
        for _ in range(3):
            assert await other.heard() == {"WATCHDOG": "1"}
        task.cancel()


@pytest.mark.parametrize(
    ("others", "watchdog"),
    [
        ({}, timedelta(seconds=60)),
        ({"WATCHDOG_PID": "7"}, timedelta(seconds=60)),
        ({"WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_children_do_not_inherit_the_manager(
    others: dict[str, str], watchdog: timedelta | None
) -> None:
    found = environment("/run/notify", **others)
    assert ServiceManager.take(found, 7) == ServiceManager("/run/notify", watchdog)
    assert found == {"KEPT": "1"}


async def test_without_a_manager_nobody_is_told(tmp_path: Path) -> None:
    manager = ServiceManager.take({}, 1)
    manager.ready("all is well")
    await keep_alive(manager)
    ServiceManager(str(tmp_path / "gone")).alive()
