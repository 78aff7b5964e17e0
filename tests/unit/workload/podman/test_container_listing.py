"""The list of containers, where Podman takes what has ended for running."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from upwell.workload.podman.containers.body import LABEL_CONTAINER, LABEL_NAME
from upwell.workload.podman.listing import ContainerListing

if TYPE_CHECKING:
    from upwell.workload.podman.api.client import PodmanApi

CONTAINER = "5e1f0c9ab7d2"
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


class UnawareApi:
    """API of a Podman that has one container, and takes it for running by this process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lists = 0

    async def containers(self, *_labels: str) -> list[dict[str, Any]]:
        self.lists += 1
        started = int(STARTED.timestamp())
        return [{"Id": CONTAINER, "State": "running", "StartedAt": started}]

    async def inspect(self, container: str) -> dict[str, Any]:
        return {
            "Id": container,
            "Config": {"Labels": {LABEL_NAME: "web-1", LABEL_CONTAINER: "web"}},
            "Created": STARTED.isoformat(),
            "State": {
                "Status": "running",
                "ExitCode": 0,
                "OOMKilled": False,
                "StartedAt": STARTED.isoformat(),
                "ConmonPid": self.pid,
            },
        }

    async def logs(self, *_: object) -> AsyncIterator[bytes]:
        yield b"its last words\n"


@pytest.fixture
def monitor() -> Iterator[subprocess.Popen[bytes]]:
    program = "print('runs', flush=True); input()"
    argv = [sys.executable, "-c", program, CONTAINER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        it.stdout.readline()
        yield it
        it.kill()


async def test_one_whose_process_has_ended_is_lost_as_soon_as_that_is_doubted(
    monitor: subprocess.Popen[bytes],
) -> None:
    api = cast("PodmanApi", UnawareApi(monitor.pid))
    listing = ContainerListing(api, "upwell.dev/instance=a", lambda: STARTED)

    [before] = (await listing.observe())["web-1"]
    assert (before.running, before.lost) == (True, False)
    assert listing.processes == {monitor.pid}

    monitor.kill()
    monitor.wait()
    listing.doubt()
    [after] = (await listing.observe())["web-1"]
    assert (after.running, after.lost, after.last_lines) == (False, True, "its last words")
    assert listing.processes == set()


@pytest.mark.parametrize("name", ["", "web-1"])
async def test_all_who_ask_at_the_same_time_share_an_answer(
    monitor: subprocess.Popen[bytes], name: str
) -> None:
    """Each of a client's many connections asks where the instance is."""
    api = UnawareApi(monitor.pid)
    listing = ContainerListing(cast("PodmanApi", api), "", lambda: STARTED)
    answers = await asyncio.gather(*(listing.observe(name) for _ in range(100)))
    assert all(set(one) == {"web-1"} for one in answers)
    assert api.lists <= 2
    await listing.observe(name)
    assert api.lists <= 3
