"""Processes: what one is taken for, and the moment of its end."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from upwell.machine.processes import ProcessWatch, boot_identity, is_process_of

IDENTITY = "0f5c2a7e9d"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    program = "print('runs', flush=True); input()"
    argv = [sys.executable, "-c", program, IDENTITY]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        it.stdout.readline()
        yield it
        it.kill()


def test_a_process_is_known_by_what_it_bears(child: subprocess.Popen[bytes]) -> None:
    assert is_process_of(child.pid, IDENTITY)
    assert not is_process_of(os.getpid(), IDENTITY)
    assert not is_process_of(0, IDENTITY)


def test_one_that_has_ended_does_not_count_although_nobody_has_waited_for_it(
    child: subprocess.Popen[bytes],
) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_process_of(child.pid, IDENTITY)
    child.wait()
    assert not is_process_of(child.pid, IDENTITY)


async def test_the_end_of_a_followed_process_is_told_once(child: subprocess.Popen[bytes]) -> None:
    ended: asyncio.Queue[None] = asyncio.Queue()
    watch = ProcessWatch(lambda: ended.put_nowait(None))
    for _ in range(2):
        watch.follow({child.pid, os.getpid()})
    child.kill()
    async with asyncio.timeout(10):
        await ended.get()
    watch.follow({child.pid})
    watch.close()
    assert ended.empty()


async def test_nothing_is_told_of_one_that_is_followed_no_more(
    child: subprocess.Popen[bytes],
) -> None:
    ended: asyncio.Queue[None] = asyncio.Queue()
    watch = ProcessWatch(lambda: ended.put_nowait(None))
    watch.follow({child.pid})
    watch.follow(set())
    child.kill()
    child.wait()
    watch.follow({child.pid})
    await asyncio.sleep(0)
    assert ended.empty()
    watch.close()


def test_this_run_of_the_machine_has_a_name() -> None:
    assert boot_identity() == boot_identity() != ""
