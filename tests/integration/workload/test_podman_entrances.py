"""Ways into instances: commands with input and output, ports, and logs of what has ended."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import eventually

from upwell.workload.errors import NoPreviousLogError, RuntimeUnavailableError, UnreachableError
from upwell.workload.interface import ExecSession, InstanceCommand, LogQuery, Output, State
from upwell.workload.podman.runtime import PodmanRuntime

NAME = "web-1-a"
SECONDS = 20


async def outcome(execution: ExecSession) -> tuple[int, bytes, bytes]:
    written = {Output.STDOUT: b"", Output.STDERR: b""}
    async with asyncio.timeout(SECONDS):
        async for output, piece in execution.output():
            written[output] += piece
        return await execution.exit_code(), written[Output.STDOUT], written[Output.STDERR]


async def test_a_command_reads_its_input_to_the_end_and_tells_its_outputs_apart(
    entered: PodmanRuntime,
) -> None:
    words = ("/bin/sh", "-c", "cat; echo trouble >&2; exit 7")
    sent = b"0123456789" * 100_000

    async with entered.run(NAME, InstanceCommand(words, stdin=True)) as execution:

        async def feed() -> None:
            for start in range(0, len(sent), 32_768):
                await execution.write(sent[start : start + 32_768])
            await execution.close_input()

        feeding = asyncio.create_task(feed())
        assert await outcome(execution) == (7, sent, b"trouble\n")
        await feeding


async def test_a_command_without_input_reads_its_end_at_once(entered: PodmanRuntime) -> None:
    async with entered.run(NAME, InstanceCommand(("/bin/cat",))) as execution:
        assert await outcome(execution) == (0, b"", b"")


async def test_a_terminal_has_the_size_that_it_is_given(entered: PodmanRuntime) -> None:
    words = ("/bin/sh", "-c", "read line; busybox stty size; echo got $line")
    async with entered.run(NAME, InstanceCommand(words, stdin=True, tty=True)) as execution:
        await execution.resize(columns=101, rows=37)
        await execution.write(b"hello\n")
        code, written, _ = await outcome(execution)
    assert code == 0
    assert b"37 101\r\n" in written
    assert b"got hello\r\n" in written


async def test_whoever_is_attached_feeds_the_process_itself_and_reads_what_it_writes(
    runtime: PodmanRuntime, workload: Workload
) -> None:
    cat = replace(workload.container("sh", "-c", "read line; echo got $line; cat"), stdin=True)
    await runtime.start(replace(workload.spec(cat), once=True))
    sent = b"0123456789" * 10_000

    async with runtime.attach(NAME, stdin=True) as attached:
        await attached.write(b"one\n" + sent)
        await attached.close_input()
        code, written, _ = await outcome(attached)
    assert (code, written) == (0, b"got one\n" + sent)


async def test_a_terminal_of_a_process_is_one_stream_and_has_a_size(
    runtime: PodmanRuntime, workload: Workload
) -> None:
    words = ("sh", "-c", "read line; busybox stty size; echo to the log >&2")
    shell = replace(workload.container(*words), stdin=True, tty=True)
    await runtime.start(replace(workload.spec(shell), once=True))

    async with runtime.attach(NAME, stdin=True) as attached:
        await attached.resize(columns=101, rows=37)
        await attached.write(b"hello\n")
        _, written, aside = await outcome(attached)
    assert b"37 101\r\n" in written
    assert (b"to the log" in written, aside) == (True, b"")
    log = b"".join([piece async for piece in runtime.logs(NAME)])
    assert b"37 101" in log
    assert b"\x00" not in log


async def test_what_cannot_be_run_is_said(entered: PodmanRuntime) -> None:
    with pytest.raises(RuntimeUnavailableError, match="no container nope"):
        async with entered.run(NAME, InstanceCommand(("/bin/id",), container="nope")):
            pass
    async with entered.run(NAME, InstanceCommand(("/no/such/program",))) as execution:
        code, written, said = await outcome(execution)
    assert (code, written) == (127, b"")
    assert b"/no/such/program" in said


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "[::1]"])
async def test_a_port_is_reached_from_inside(
    runtime: PodmanRuntime, workload: Workload, listen: str
) -> None:
    await runtime.start(workload.spec(workload.container("httpd", "-f", "-p", f"{listen}:8080")))

    async def answer() -> bytes:
        with contextlib.suppress(UnreachableError):  # it does not listen at once
            reader, writer = await runtime.connect(NAME, 8080)
            writer.write(b"GET /bin/nothing HTTP/1.0\r\n\r\n")
            answered = await reader.readline()
            writer.close()
            return answered
        return b""

    await eventually(answer, lambda answered: answered == b"HTTP/1.1 404 Not Found\r\n")


async def test_where_nothing_listens_is_said(entered: PodmanRuntime) -> None:
    with pytest.raises(UnreachableError, match="port 81"):
        await entered.connect(NAME, 81)
    with pytest.raises(UnreachableError, match="does not run"):
        await entered.connect("nobody", 80)


async def test_the_log_before_the_last_start_is_kept(
    runtime: PodmanRuntime, workload: Workload
) -> None:
    script = "echo one; echo two; echo three; read nothing"
    turns = "trap 'exit 3' TERM; while :; do sleep 0.1; done"
    beside = workload.container("sh", "-c", turns, name="beside")
    spec = workload.spec(beside, workload.container("sh", "-c", script))

    async def has_ended() -> bool:
        return (await runtime.instances())[0].state is State.EXITED

    async def log(wanted: LogQuery) -> bytes:
        return b"".join([piece async for piece in runtime.logs(NAME, "web", wanted)])

    await runtime.start(spec)
    await eventually(has_ended, bool)
    with pytest.raises(NoPreviousLogError):
        await log(LogQuery(previous=True))
    await runtime.start(spec)

    assert await log(LogQuery(previous=True)) == b"one\ntwo\nthree\n"
    assert await log(LogQuery(previous=True, tail=1)) == b"three\n"
    stamped = await log(LogQuery(previous=True, timestamps=True, tail=1))
    time, _, line = stamped.partition(b" ")
    now = datetime.now(UTC)
    assert abs(datetime.fromisoformat(time[:19].decode() + "+00:00") - now) < timedelta(minutes=5)
    assert line == b"three\n"
    hour = timedelta(hours=1)
    assert await log(LogQuery(previous=True, since=now - hour)) == b"one\ntwo\nthree\n"
    assert await log(LogQuery(previous=True, since=now + hour)) == b""
    found = (await runtime.instances())[0].containers
    assert [one.restarts for one in found] == [1, 1]
    ends = {one.name: one.previous.exit_code for one in found if one.previous is not None}
    assert ends == {"web": 1, "beside": 3}  # which was stopped along with it


async def test_lines_may_have_their_times(entered: PodmanRuntime, workload: Workload) -> None:
    container = workload.container("sh", "-c", "echo one; sleep 600")
    await entered.start(workload.spec(container, name="web-1-b"))

    async def log(wanted: LogQuery) -> bytes:
        return b"".join([piece async for piece in entered.logs("web-1-b", "", wanted)])

    async def has_written() -> bool:
        return await log(LogQuery()) == b"one\n"

    await eventually(has_written, bool)
    time, _, line = (await log(LogQuery(timestamps=True))).partition(b" ")
    written = datetime.fromisoformat(f"{time[:19].decode()}Z")
    assert abs(written - datetime.now(UTC)) < timedelta(days=1)
    assert line == b"one\n"
    assert await log(LogQuery(since=datetime.now(UTC) + timedelta(hours=1))) == b""
