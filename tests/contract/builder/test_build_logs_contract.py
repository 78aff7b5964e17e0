"""Contract of build logs: one writer, any number of readers, and an end that all of them see."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.shared_contents import shared_logs

from upwell.builder.interface import BuildLogs
from upwell.builder.logs.files import FileBuildLogs
from upwell.builder.logs.kept import SharedBuildLogs

BUILD = "0b8f2d3e-uid"
LIMIT_BYTES = 100


@pytest.fixture(params=["files", "shared in a registry", "shared in a bucket"])
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BuildLogs]:
    if request.param == "files":
        kept = FileBuildLogs(tmp_path / "logs", max_bytes=LIMIT_BYTES)
        yield kept
        kept.close_all()
        return
    place = "bucket" if request.param == "shared in a bucket" else "registry"
    async with shared_logs(tmp_path, place) as shared:
        own = SharedBuildLogs(tmp_path / "logs", shared, LIMIT_BYTES)
        yield own
        own.close_all()


async def read(logs: BuildLogs, *, follow: bool = False) -> bytes:
    async with asyncio.timeout(60):
        return b"".join([piece async for piece in logs.read(BUILD, follow=follow)])


async def test_what_was_written_is_read_as_often_as_wanted(logs: BuildLogs) -> None:
    sink = logs.sink(BUILD)
    for piece in (b"one\n", b"", b"t\xffo\n"):
        sink(piece)
    assert await read(logs) == await read(logs) == b"one\nt\xffo\n"
    logs.close(BUILD)
    assert await read(logs) == await read(logs, follow=True) == b"one\nt\xffo\n"


async def test_a_build_without_a_log_has_an_empty_one(logs: BuildLogs) -> None:
    assert await read(logs) == await read(logs, follow=True) == b""
    assert logs.tail(BUILD, 10) == ""
    logs.close(BUILD)
    logs.remove(BUILD)


async def test_a_log_that_another_process_keeps_is_told_to_be_elsewhere(tmp_path: Path) -> None:
    logs = FileBuildLogs(tmp_path, absent=b"elsewhere\n")
    assert await read(logs) == await read(logs, follow=True) == b"elsewhere\n"
    try:
        logs.sink(BUILD)
        assert await read(logs) == b""
        logs.sink(BUILD)(b"here\n")
        assert await read(logs) == b"here\n"
    finally:
        logs.close_all()


class Follower:
    """A reader that follows a log, and tells what it has got so far."""

    def __init__(self, logs: BuildLogs) -> None:
        self._logs = logs
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for piece in self._logs.read(BUILD, follow=True):
            self._pieces.put_nowait(piece)

    async def gets(self, wanted: bytes) -> None:
        """Wait until it has got what follows."""
        found = b""
        async with asyncio.timeout(60):
            while len(found) < len(wanted):
                found += await self._pieces.get()
        assert found == wanted

    async def ends(self) -> None:
        """Wait until it has ended, having got nothing more."""
        async with asyncio.timeout(60):
            await self.task
        assert self._pieces.empty()


async def test_followers_get_what_comes_until_the_log_is_closed(logs: BuildLogs) -> None:
    sink = logs.sink(BUILD)
    sink(b"one\n")
    followers = [Follower(logs) for _ in range(2)]
    for one in followers:
        await one.gets(b"one\n")
    sink(b"two\n")
    sink(b"three\n")
    for one in followers:
        await one.gets(b"two\nthree\n")
        assert not one.task.done()
    sink(b"four\n")
    logs.close(BUILD)
    logs.close(BUILD)
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.task for one in followers))
    for one in followers:
        await one.gets(b"four\n")


async def test_a_follower_can_leave(logs: BuildLogs) -> None:
    sink = logs.sink(BUILD)
    sink(b"begun\n")
    follower = Follower(logs)
    await follower.gets(b"begun\n")
    follower.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower.task
    sink(b"goes on\n")
    assert await read(logs) == b"begun\ngoes on\n"


async def test_a_second_sink_appends(logs: BuildLogs) -> None:
    logs.sink(BUILD)(b"one\n")
    logs.sink(BUILD)(b"two\n")
    logs.close(BUILD)
    logs.sink(BUILD)(b"three\n")
    assert await read(logs) == b"one\ntwo\nthree\n"


async def test_a_sink_never_raises_and_says_once_that_it_drops(logs: BuildLogs) -> None:
    sink = logs.sink(BUILD)
    for _ in range(3):
        sink(b"x" * LIMIT_BYTES)
    logs.close(BUILD)
    sink(b"after the end")
    text = await read(logs)
    assert text.startswith(b"x" * LIMIT_BYTES + b"\n")
    assert text.count(b"limit") == 1
    assert b"after the end" not in text
    assert len(text) < 2 * LIMIT_BYTES


async def test_each_build_has_its_own_log(logs: BuildLogs) -> None:
    logs.sink(BUILD)(b"one\n")
    logs.sink("other")(b"two\n")
    logs.remove("other")
    assert await read(logs) == b"one\n"


@pytest.mark.parametrize(("lines", "expected"), [(0, ""), (1, "c"), (2, "b\nc"), (9, "a\nb\nc")])
def test_the_tail_is_the_last_lines(logs: BuildLogs, lines: int, expected: str) -> None:
    logs.sink(BUILD)(b"a\nb\nc")
    assert logs.tail(BUILD, lines) == expected


async def test_a_removed_log_is_gone_and_its_followers_end(logs: BuildLogs) -> None:
    sink = logs.sink(BUILD)
    sink(b"one\n")
    follower = Follower(logs)
    await follower.gets(b"one\n")
    assert [logs.remove(BUILD) for _ in range(2)] == [True, False]
    sink(b"two\n")
    await follower.ends()
    assert await read(logs) == b""


async def test_a_kept_log_is_read_like_before(logs: BuildLogs) -> None:
    assert await logs.keep(BUILD, "shop") == 0
    logs.sink(BUILD)(b"one\n")
    assert await logs.keep(BUILD, "shop") == 0
    logs.close(BUILD)
    assert await logs.keep(BUILD, "shop", again=True) == 0
    assert await read(logs) == b"one\n"
    assert logs.tail(BUILD, 1) == "one"
    logs.remove(BUILD)
    assert await read(logs) == b""
