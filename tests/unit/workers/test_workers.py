"""Workers: the limits hold, and the end of each is told apart."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from upwell.machine.checks import HostCheckStatus
from upwell.workers import runner
from upwell.workers.checks import check_workers
from upwell.workers.interface import (
    MIB,
    RefusedInputError,
    WorkerError,
    WorkerExcessError,
    WorkerFailedError,
    WorkerLimits,
)
from upwell.workers.runner import run_worker, run_worker_into

TASK = """
import os, signal, socket, sys, time

def run(source, argument):
    return globals()[argument["what"]](source, argument)

def echo(source, argument):
    return [source.read().decode(), argument]

def memory(source, argument):
    return len(b"x" * 2**30)

def computing(source, argument):
    while True:
        pass

def sleeping(source, argument):
    time.sleep(600)

def dying(source, argument):
    os.kill(os.getpid(), signal.SIGKILL)

def leaving(source, argument):
    os._exit(3)

def talking(source, argument):
    return "x" * 10_000_000

def counting(source, argument):
    return [[] for _ in range(argument.get("times", 70_000))]

def refusing(source, argument):
    raise ValueError("no such thing")

def broken(source, argument):
    return {}["missing"]

def full(source, argument):
    raise OSError(28, "No space left on device")

def content(source, argument):
    return source.read() * argument["times"]

def lying(source, argument):
    os.write(1, b'{"content": 3, "gaps": []}\\nab')
    os._exit(0)

def network(source, argument):
    # Bytes: there is no codec of names any more.
    socket.socket().connect((argument["host"].encode(), argument["port"]))

def reading(source, argument):
    return open(argument["path"]).read()

def writing(source, argument):
    with open(argument["path"], "w") as file:
        file.write("x")

def users(source, argument):
    return [os.getresuid(), os.getgroups()]

def descriptors(source, argument):
    kept = []
    while True:
        kept.append(os.dup(0))
"""
LIMITS = WorkerLimits(memory_bytes=256 * MIB, cpu_seconds=2, wall_seconds=60)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up so much")


@pytest.fixture(autouse=True)
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "a_task.py").write_text(TASK)
    start = f"import sys; sys.path.append({str(folder)!r})\n{runner._BOOTSTRAP}"
    monkeypatch.setattr(runner, "_BOOTSTRAP", start)


@pytest.fixture
def source() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(b"input")
        file.seek(0)
        yield file


async def work(source: IO[bytes], what: str, folder: Path | None = None, **argument: Any) -> Any:
    return await run_worker("a_task", source, {"what": what, **argument}, LIMITS, folder)


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


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def test_one_that_nobody_waits_for_is_killed(source: IO[bytes]) -> None:
    before = children()
    waiting = asyncio.create_task(work(source, "sleeping"))
    async with asyncio.timeout(30):
        while children() <= before:  # noqa: ASYNC110 - the kernel tells of it to nobody
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert children() <= before


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
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    monkeypatch.setattr(runner, "_told", set())

    def give_up(bits: int) -> None:
        start = f"{WITHOUT}\nwithout({bits})\n{runner._BOOTSTRAP}"
        monkeypatch.setattr(runner, "_BOOTSTRAP", start)

    return give_up


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
