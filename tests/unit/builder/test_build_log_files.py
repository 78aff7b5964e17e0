import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upwell.builder.logs.files import FileBuildLogs

type Opener = Callable[..., FileBuildLogs]


@pytest.fixture
def open_logs(tmp_path: Path) -> Iterator[Opener]:
    """Opens the logs of one folder, each time as a new process would."""
    opened: list[FileBuildLogs] = []

    def open_(max_bytes: int = 1_000_000) -> FileBuildLogs:
        opened.append(FileBuildLogs(tmp_path, max_bytes))
        return opened[-1]

    yield open_
    for logs in opened:
        logs.close_all()


async def collected(logs: FileBuildLogs, build_id: str, *, follow: bool = False) -> bytes:
    return b"".join([piece async for piece in logs.read(build_id, follow=follow)])


async def test_a_log_is_kept_and_read_again(open_logs: Opener) -> None:
    logs = open_logs()
    sink = logs.sink("b")
    sink(b"one\n")
    sink(b"two\n")
    assert await collected(logs, "b") == b"one\ntwo\n"
    logs.close("b")
    assert await collected(open_logs(), "b") == b"one\ntwo\n"


async def test_a_follower_gets_what_comes_and_ends_with_the_log(open_logs: Opener) -> None:
    logs = open_logs()
    sink = logs.sink("b")
    sink(b"0")
    got: list[bytes] = []
    seen = asyncio.Event()

    async def follow() -> None:
        async for piece in logs.read("b", follow=True):
            got.append(piece)
            seen.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(follow())
        for number in range(1, 4):
            await seen.wait()
            seen.clear()
            sink(str(number).encode())
        await seen.wait()
        sink(b"last")
        logs.close("b")
    assert b"".join(got) == b"0123last"


async def test_a_log_that_a_killed_process_left_is_complete(open_logs: Opener) -> None:
    open_logs().sink("b")(b"half")
    async with asyncio.timeout(30):
        assert await collected(open_logs(), "b", follow=True) == b"half"


async def test_a_second_sink_goes_on_where_the_first_was(open_logs: Opener) -> None:
    logs = open_logs(max_bytes=6)
    logs.sink("b")(b"abc")
    logs.sink("b")(b"def")
    logs.close("b")
    open_logs(max_bytes=6).sink("b")(b"g")
    assert (await collected(logs, "b")).startswith(b"abcdef\n[log limit reached")


async def test_past_the_limit_one_notice_is_written(open_logs: Opener) -> None:
    logs = open_logs(max_bytes=10)
    sink = logs.sink("b")
    for _ in range(5):
        sink(b"12345678")
    content = await collected(logs, "b")
    assert content.startswith(b"1234567812\n[log limit")
    assert content.count(b"[") == 1


def test_the_tail_is_the_last_lines(open_logs: Opener) -> None:
    logs = open_logs()
    logs.sink("b")(b"".join(b"line %d\n" % number for number in range(20_000)))
    assert logs.tail("b", 2) == "line 19998\nline 19999"
    assert logs.tail("b", 0) == ""
    assert logs.tail("none", 3) == ""


async def test_a_removed_log_is_gone_and_its_sink_harmless(open_logs: Opener) -> None:
    logs = open_logs()
    sink = logs.sink("b")
    logs.remove("b")
    logs.remove("b")
    sink(b"late")
    assert await collected(logs, "b", follow=True) == b""


@pytest.mark.parametrize("build_id", ["", "../x", "a/b", ".", "x" * 200])
def test_an_id_cannot_leave_the_folder(open_logs: Opener, build_id: str) -> None:
    with pytest.raises(ValueError, match="not a build id"):
        open_logs().sink(build_id)


async def test_the_stored_logs_are_those_that_nobody_writes(open_logs: Opener) -> None:
    logs = open_logs()
    assert logs.stored() == []
    for build_id in ("a", "b"):
        logs.sink(build_id)(b"12345")
    logs.close("a")
    [stored] = logs.stored()
    assert (stored.build_id, stored.size) == ("a", 5)
    assert abs(datetime.now(UTC) - stored.written) < timedelta(minutes=1)
