"""Workers: the limits hold, and the end of each is told apart."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
from tests.support.workers import LIMITS, grandchildren, work

from upwell.machine.checks import HostCheckStatus
from upwell.workers import runner
from upwell.workers.checks import check_workers
from upwell.workers.fork_server import ForkServer
from upwell.workers.interface import (
    RefusedInputError,
    WorkerError,
    WorkerExcessError,
    WorkerFailedError,
    WorkerLimits,
)
from upwell.workers.runner import run_worker, run_worker_into

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up so much")


async def test_a_result_comes_back(source: IO[bytes]) -> None:
    found = await work(source, "echo", text="ü")
    assert found == ["input", {"what": "echo", "text": "ü"}]


async def test_a_long_result_comes_back(source: IO[bytes]) -> None:
    assert await work(source, "counting", times=20_000) == [[]] * 20_000


async def work_into(target: IO[bytes], source: IO[bytes], what: str, **argument: Any) -> None:
    await run_worker_into(target, "a_task", source, {"what": what, **argument}, LIMITS)


async def test_content_goes_into_a_file(source: IO[bytes]) -> None:
    with tempfile.TemporaryFile() as target:
        await work_into(target, source, "content", times=100_000)
        target.seek(0)
        assert target.read() == b"input" * 100_000


@pytest.mark.parametrize(
    ("what", "error", "why"),
    [
        ("content", WorkerExcessError, "more than 4194304 bytes"),
        ("memory", WorkerExcessError, "256 MiB of memory"),
        ("refusing", RefusedInputError, "no such thing"),
        ("lying", WorkerFailedError, "without a result"),
        ("echo", WorkerFailedError, "without a result"),
        ("talking", WorkerFailedError, "without a result"),
        ("dying", WorkerFailedError, "signal 9"),
    ],
)
async def test_what_is_no_content_is_told_apart(
    source: IO[bytes], what: str, error: type[Exception], why: str
) -> None:
    with tempfile.TemporaryFile() as target, pytest.raises(error, match=why):
        await work_into(target, source, what, times=1_000_000)


async def test_content_is_no_data(source: IO[bytes]) -> None:
    with pytest.raises(WorkerFailedError, match="without a result"):
        await work(source, "content", times=1)


@pytest.mark.parametrize(
    ("what", "error", "why"),
    [
        ("memory", WorkerExcessError, "256 MiB of memory"),
        ("computing", WorkerExcessError, "more than 2 s"),
        ("talking", WorkerExcessError, "more than 4194304 bytes"),
        ("counting", WorkerExcessError, "more than 60000 values"),
        ("dying", WorkerFailedError, "signal 9"),
        ("leaving", WorkerFailedError, "status 3"),
        ("refusing", RefusedInputError, "no such thing"),
        ("broken", RefusedInputError, "KeyError: 'missing'"),
        ("full", OSError, "No space left"),
        ("descriptors", OSError, "Too many open files"),
    ],
)
async def test_every_end_is_told_apart(
    source: IO[bytes], what: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why) as caught:
        await work(source, what)
    if isinstance(caught.value, WorkerError):
        assert caught.value.final is (error is not WorkerFailedError)


async def test_one_that_is_too_slow_is_killed(source: IO[bytes]) -> None:
    limits = WorkerLimits(wall_seconds=0.2)
    with pytest.raises(WorkerFailedError, match=r"within 0\.2 s"):
        await run_worker("a_task", source, {"what": "sleeping"}, limits)


async def test_one_that_nobody_waits_for_is_killed(source: IO[bytes]) -> None:
    before = grandchildren()
    waiting = asyncio.create_task(work(source, "sleeping"))
    async with asyncio.timeout(30):
        while grandchildren() <= before:  # noqa: ASYNC110 - the kernel tells of it to nobody
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert grandchildren() <= before


@root_only
async def test_there_is_no_network(source: IO[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with pytest.raises(OSError, match="unreachable"):
            await work(source, "network", host=host, port=port)


@root_only
async def test_there_are_no_files_and_no_rights(source: IO[bytes], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for path in ("/etc/passwd", str(tmp_path / "secret")):
        with pytest.raises(OSError, match="No such file"):
            await work(source, "reading", path=path)
    with pytest.raises(OSError, match=r"denied|No such file"):
        await work(source, "writing", path="/x")
    assert await work(source, "users") == [[65534, 65534, 65534], []]


@root_only
async def test_with_a_folder_there_is_nothing_else(source: IO[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    await work(source, "writing", folder, path="made")
    await work(source, "writing", folder, path="/also")
    assert sorted(path.name for path in folder.iterdir()) == ["also", "made"]
    for path in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(OSError, match="No such file"):
            await work(source, "reading", folder, path=path)


WITHOUT = """
import ctypes
def without(bits):
    libc, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for at in (0, 1):  # effective, permitted: the capabilities below 32
        sets[at] &= ~bits
    assert libc.capset(header, sets) == 0
"""
"""Gives up single capabilities, as a container without them has none (capabilities(7))."""
SETGID, SETUID, SYS_CHROOT, SYS_ADMIN = (1 << number for number in (6, 7, 18, 21))


@pytest.fixture
def without(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    monkeypatch.setattr(runner, "_told", set())
    with ExitStack() as made:

        def give_up(bits: int) -> None:
            server = ForkServer(f"{WITHOUT}\nwithout({bits})\n{bootstrap}")
            made.callback(server.end)
            monkeypatch.setattr(runner, "_fork_server", server)

        yield give_up


@root_only
@pytest.mark.parametrize("capability", [SETGID, SETUID, SYS_CHROOT])
async def test_nothing_is_parsed_by_root(
    source: IO[bytes], without: Callable[[int], None], capability: int
) -> None:
    without(capability)
    with pytest.raises(WorkerFailedError, match=r"would keep rights: .*: give the server CAP_"):
        await work(source, "echo")
    assert (await check_workers()).status is HostCheckStatus.FAIL


@root_only
async def test_that_there_is_no_network_to_leave_is_said_once(
    source: IO[bytes], without: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    without(SYS_ADMIN)
    for _ in range(2):
        assert (await work(source, "users"))[0] == [65534, 65534, 65534]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "network" in record.__dict__["right"]
    found = await check_workers()
    assert (found.status, "network" in found.detail) == (HostCheckStatus.WARN, True)


@root_only
async def test_a_worker_that_keeps_nothing_is_no_finding(caplog: pytest.LogCaptureFixture) -> None:
    assert (await check_workers()).status is HostCheckStatus.OK
    assert not caplog.records


async def test_no_worker_can_be_started(source: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(WorkerFailedError, match="could be started"):
        await work(source, "echo")
