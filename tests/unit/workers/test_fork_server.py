"""Fork server: one start for many workers, which share nothing else, and leave nothing."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from tests.support.workers import LIMITS, grandchildren, work

from upwell.machine.processes import is_running, process_state
from upwell.workers import fork_server as module
from upwell.workers.fork_server import ForkServer
from upwell.workers.interface import RefusedInputError, WorkerFailedError, WorkerLimits
from upwell.workers.runner import run_worker

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up so much")


async def until(state: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not state():  # noqa: ASYNC110 - the kernel tells of it to nobody
            await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    await until(lambda: not is_running(pid) or process_state(pid) == "Z")


async def test_workers_have_one_parent_and_share_no_memory(source: IO[bytes]) -> None:
    parents = {await work(source, "parents") for _ in range(3)}
    assert len(parents) == 1
    told = [await work(source, "remembering", word=word) for word in ("one", "two")]
    assert told == ["one", "two"]


async def test_many_work_at_once(source: IO[bytes]) -> None:
    words = [f"word {number}" for number in range(20)]
    found = await asyncio.gather(*(work(source, "remembering", word=word) for word in words))
    assert found == words


async def test_a_worker_has_its_own_descriptors_alone(source: IO[bytes]) -> None:
    waiting = asyncio.create_task(work(source, "sleeping"))
    await until(grandchildren)
    assert await work(source, "opened") == [0, 1, 2]
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_the_fork_server_has_nothing_of_ours(
    source: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "word")
    inherited = os.open("/", os.O_RDONLY)
    os.set_inheritable(inherited, True)  # noqa: FBT003 - Python's own
    pid = await work(source, "parents")
    os.close(inherited)
    process = Path(f"/proc/{pid}")
    assert (process / "environ").read_bytes() == b""
    assert len(list((process / "task").iterdir())) == 1
    assert (process / "cwd").readlink() == Path("/")
    own = {"socket": 1, os.devnull: 2, "pipe": 2}  # its own pipe tells it of signals

    def has_its_own_alone() -> bool:
        try:
            kept = [str(one.readlink()) for one in (process / "fd").iterdir()]
        except FileNotFoundError:
            return False  # one was closed meanwhile
        return Counter(one.partition(":")[0] for one in kept) == own

    await until(has_its_own_alone)  # the line to a worker is closed after it has told of the end


async def test_a_worker_starts_no_other_process(source: IO[bytes]) -> None:
    with pytest.raises(OSError, match="unavailable"):
        await work(source, "forking")


@root_only
async def test_what_a_worker_has_started_ends_with_it(source: IO[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    with suppress(WorkerFailedError):
        await work(source, "escaping", folder)
    assert grandchildren() == set()


async def test_no_worker_is_forked_by_one_of_which_another_crashed(source: IO[bytes]) -> None:
    parent = await work(source, "parents")
    for what in ("refusing", "dying"):
        with pytest.raises((RefusedInputError, WorkerFailedError)):
            await work(source, what)
    assert await work(source, "parents") == parent
    with pytest.raises(WorkerFailedError, match="signal 11"):
        await work(source, "segfault")
    assert await work(source, "parents") != parent
    await until_gone(parent)


async def test_one_fork_server_serves_so_many_and_no_more(
    source: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_JOBS", 2)
    first, again, other = [await work(source, "parents") for _ in range(3)]
    assert first == again != other
    await until_gone(first)


async def test_one_that_was_killed_is_started_again(source: IO[bytes]) -> None:
    parent = await work(source, "parents")
    waiting = asyncio.create_task(work(source, "sleeping"))
    await until(grandchildren)
    os.kill(parent, signal.SIGKILL)
    with pytest.raises(WorkerFailedError, match="killed"):
        await waiting
    assert grandchildren() == set()
    assert await work(source, "parents") != parent


async def test_one_that_hangs_is_killed(source: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_SECONDS", 0.1)
    parent = await work(source, "parents")
    os.kill(parent, signal.SIGSTOP)
    with pytest.raises(WorkerFailedError, match="was not parsed within"):
        await run_worker("a_task", source, {"what": "echo"}, WorkerLimits(wall_seconds=0.1))
    await until_gone(parent)
    assert await work(source, "parents") != parent


async def test_an_idle_one_ends(source: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
    parent = await work(source, "parents")
    await until_gone(parent)
    assert await work(source, "parents") != parent


async def test_it_ends_after_its_last_worker(source: IO[bytes], fork_server: ForkServer) -> None:
    parent = await work(source, "parents")
    waiting = asyncio.create_task(run_worker("a_task", source, {"what": "sleeping"}, LIMITS))
    await until(grandchildren)
    fork_server.end()
    assert process_state(parent) != "Z"
    waiting.cancel()
    await asyncio.wait([waiting])
    await until_gone(parent)


async def test_a_task_that_is_not_there_fails_alone(source: IO[bytes]) -> None:
    with pytest.raises(WorkerFailedError, match="status 1"):
        await run_worker("no_such_task", source, {}, LIMITS)
    assert await work(source, "users")
