"""Processes of the demo end with all that they started, also when only their records are left."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import ChildProcesses, records, run, started_at, stop_recorded
from upwell.cli.demo.teardown import claim_folder, in_use, is_demo, tear_down


async def is_gone(pid: int) -> bool:
    """Wait until a process has ended: a signal that was sent takes its time."""
    async with asyncio.timeout(30):
        while started_at(pid) is not None:  # noqa: ASYNC110 - no event tells of its end
            await asyncio.sleep(0.01)
    return True


async def written(path: Path) -> str:
    """Return what a process writes into the file, once it has."""
    async with asyncio.timeout(30):
        while not (text := _read(path)):  # noqa: ASYNC110 - no event tells of a file
            await asyncio.sleep(0.01)
    return text


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


async def test_a_command_returns_what_it_printed_on_both_streams() -> None:
    assert await run("sh", "-c", "echo out; echo err >&2", seconds=10) == "out\nerr\n"
    assert await run("sh", "-c", "echo $X", environment={"X": "1"}, seconds=10) == "1\n"


async def test_a_command_that_fails_says_its_last_words() -> None:
    with pytest.raises(CommandError, match=r"sh failed with exit code 3:\n  it is broken"):
        await run("sh", "-c", "echo it is broken; exit 3", seconds=10)
    with pytest.raises(CommandError, match="cannot start no-such-program"):
        await run("no-such-program", seconds=10)


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait"
    with pytest.raises(CommandError, match=r"took more than 0\.3 s"):
        await run("sh", "-c", script, seconds=0.3)
    assert await is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("child", ["sleep 600", "(trap '' TERM; exec sleep 600)"])
async def test_a_cancelled_command_is_ended_with_its_children(tmp_path: Path, child: str) -> None:
    script = f"{child} & echo $! > {tmp_path / 'pid'}; wait"
    task = asyncio.create_task(run("sh", "-c", script, seconds=60))
    pid = int(await written(tmp_path / "pid"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_gone(pid)


@pytest.fixture
def children(tmp_path: Path) -> Iterator[ChildProcesses]:
    yield ChildProcesses(tmp_path)
    asyncio.run(stop_recorded(tmp_path))


def test_a_process_that_has_ended_is_noticed_with_its_log(children: ChildProcesses) -> None:
    children.start("registry", "sh", "-c", "echo address in use; exit 2")
    with pytest.raises(CommandError, match="registry ended with exit code 2:\n  address in use"):
        asyncio.run(children.until_listening("registry", 1))


async def test_a_port_that_another_process_has_taken_meanwhile_is_told_with_its_name(
    children: ChildProcesses,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        children.start("serve", "sleep", "600")
        taken = rf"serve cannot listen on port {port}: process {os.getpid()} \(.+\) does"
        with pytest.raises(CommandError, match=taken):
            await children.until_listening("serve", port)


async def test_a_process_that_listens_itself_has_started(
    children: ChildProcesses, tmp_path: Path
) -> None:
    script = (
        "import pathlib, socket, time; one = socket.create_server(('127.0.0.1', 0));"
        f"pathlib.Path({str(tmp_path / 'port')!r}).write_text(str(one.getsockname()[1]));"
        "time.sleep(600)"
    )
    children.start("serve", sys.executable, "-c", script)
    await children.until_listening("serve", int(await written(tmp_path / "port")))


def test_recorded_processes_are_stopped_from_the_folder_alone(tmp_path: Path) -> None:
    ChildProcesses(tmp_path).start("serve", "sh", "-c", "sleep 600 & wait")
    (record,) = records(tmp_path)
    assert started_at(record.pid) == record.started

    asyncio.run(stop_recorded(tmp_path))

    assert started_at(record.pid) is None
    assert records(tmp_path) == []


def test_a_record_of_another_process_with_that_id_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "children").mkdir()
    record = {"pid": os.getpid(), "started": (started_at(os.getpid()) or 0) - 1}
    (tmp_path / "children/serve").write_text(json.dumps(record))
    (tmp_path / "children/cut-short").write_text('{"pid": ')
    asyncio.run(stop_recorded(tmp_path))
    assert started_at(os.getpid())


def test_a_demo_takes_no_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(CommandError, match="is not empty"):
        claim_folder(tmp_path)
    with pytest.raises(CommandError, match="not the folder of a demo"):
        asyncio.run(tear_down(tmp_path))
    assert (tmp_path / "letter").exists()


def test_a_claimed_folder_is_in_use_and_cannot_be_claimed_again(tmp_path: Path) -> None:
    folder = claim_folder(tmp_path / "new")
    assert is_demo(folder)
    assert in_use(folder)
    with pytest.raises(CommandError, match="demo --stop --data-dir"):
        claim_folder(folder)


def test_tearing_down_removes_processes_and_folder(tmp_path: Path) -> None:
    folder = claim_folder(tmp_path / "new")
    ChildProcesses(folder).start("git", "sleep", "600")
    (record,) = records(folder)

    asyncio.run(tear_down(folder))

    assert started_at(record.pid) is None
    assert not folder.exists()
