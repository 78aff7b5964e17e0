"""Commands in containers end with whoever wanted them: a client, a server, Podman's service."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.workload.podman_faults import service_of
from tests.support.workload.podman_home import PodmanHome, Workload
from tests.support.workload.waiting import eventually

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import ExecSession, InstanceCommand, Output
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.runtime import PodmanRuntime

NAME = "web-1-a"
STUBBORN = "trap '' TERM HUP; sleep 4567 & sleep 4567 & echo begun; wait"


async def said(execution: ExecSession) -> bytes:
    """Return the first piece of its output."""
    async for output, piece in execution.output():
        assert output is Output.STDOUT
        return piece
    raise AssertionError("it has ended")


async def sleepers(runtime: PodmanRuntime) -> int:
    """Return how many processes of the commands run."""
    _, listing = await runtime.execute(NAME, ("/bin/busybox", "ps"))
    return sum(line.rstrip().endswith(b"sleep 4567") for line in listing.splitlines())


async def test_a_command_ends_with_its_block_and_so_does_all_that_it_has_begun(
    entered: PodmanRuntime, settings: PodmanSettings
) -> None:
    notes = settings.data_dir / "commands"
    async with entered.run(NAME, InstanceCommand(("/bin/sh", "-c", STUBBORN))) as execution:
        assert await said(execution) == b"begun\n"
        assert len(list(notes.iterdir())) == 1
        assert await sleepers(entered) == 2
    assert await sleepers(entered) == 0
    assert list(notes.iterdir()) == []


LINE = b"yes\0unread-output\0"


async def test_a_command_whose_output_nobody_takes_any_more_takes_no_processor_until_its_end(
    entered: PodmanRuntime,
) -> None:
    words = ("/bin/sh", "-c", "trap '' HUP TERM; exec /bin/busybox yes unread-output")
    block = entered.run(NAME, InstanceCommand(words))
    assert (await said(await block.__aenter__())).startswith(b"unread-output\n")
    (pid,) = [one for one in map(int, process_ids()) if command_line(one).endswith(LINE)]
    at_first = most = ticks(pid)
    leaving = asyncio.create_task(block.__aexit__(None, None, None))
    while not leaving.done():  # for some seconds, as it has to be killed
        most = max(most, ticks(pid))
        await asyncio.sleep(0.05)
    await leaving
    assert command_line(pid) == b""
    assert most - at_first < os.sysconf("SC_CLK_TCK")


def process_ids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def ticks(pid: int) -> int:
    """Return the processor time that a process has taken; 0 when it is gone."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


async def test_what_a_command_left_that_ended_by_itself_runs_on(entered: PodmanRuntime) -> None:
    words = ("/bin/sh", "-c", "sleep 4567 >/dev/null 2>&1 & exit 3")
    async with entered.run(NAME, InstanceCommand(words)) as execution:
        assert [piece async for piece in execution.output()] == []
        assert await execution.exit_code() == 3
    assert await sleepers(entered) == 1


@pytest.mark.parametrize("tty", [False, True])
async def test_of_a_command_that_is_not_there_that_alone_is_said(
    entered: PodmanRuntime, *, tty: bool
) -> None:
    async with entered.run(NAME, InstanceCommand(("no-such-command",), tty=tty)) as execution:
        said = b"".join([piece async for _, piece in execution.output()])
        assert await execution.exit_code() == 127
    assert b"no-such-command" in said
    assert b"unixpacket" not in said, said


async def test_a_command_ends_that_podman_could_not_be_asked_to_end(
    entered: PodmanRuntime, settings: PodmanSettings
) -> None:
    async with entered.run(NAME, InstanceCommand(("/bin/sleep", "4567"))):
        assert await sleepers(entered) == 1
        os.kill(service_of(settings), signal.SIGKILL)

    async def left() -> int:
        try:
            return await sleepers(entered)
        except RuntimeUnavailableError:
            return -1

    await eventually(left, (0).__eq__)


async def test_a_command_of_a_killed_server_is_ended_by_the_next_and_an_administrators_is_not(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(workload.container("sleep", "600")))
    container = f"upwell-{settings.instance_id}.{NAME}.web"

    def sessions() -> set[str]:
        shown = podman_home.run("inspect", "--format={{.ExecIDs}}", container)
        return set(shown.strip("[]\n").split())

    def begun() -> str:
        before = sessions()
        podman_home.run("exec", "--detach", container, "/bin/sleep", "4567")
        [session] = sessions() - before
        return session

    session = await asyncio.to_thread(begun)
    await asyncio.to_thread(begun)
    (settings.data_dir / "commands").mkdir(exist_ok=True)
    (settings.data_dir / "commands" / session).touch()

    async with PodmanRuntime.open(settings) as runtime:
        assert await eventually(lambda: sleepers(runtime), lambda count: count < 2) == 1
        # Its record goes a moment after its process.
        await eventually(lambda: asyncio.to_thread(sessions), lambda left: session not in left)
