import asyncio
import os
import time
from pathlib import Path

import pytest

from upwell.machine.process import (
    CANNOT_RUN,
    NOT_FOUND,
    ChildCommand,
    Launcher,
    OutputTooLargeError,
    run_command,
)

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def shell(script: str, folder: Path) -> ChildCommand:
    return ChildCommand(("sh", "-c", script), ENVIRONMENT, folder)


@pytest.fixture(params=["namespace", "group"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Launcher:
    """Both ways of killing a tree; the second is for machines without PID namespaces."""
    launcher = Launcher(str(tmp_path))
    if request.param == "group":
        launcher._prefix = ()
    elif os.geteuid() != 0:
        pytest.skip("PID namespaces need root")
    return launcher


async def test_output_of_both_streams_arrives_in_order(launcher: Launcher, tmp_path: Path) -> None:
    got: list[bytes] = []
    outcome = await launcher.run(shell("echo a; echo b >&2; echo c; exit 7", tmp_path), got.append)
    assert b"".join(got) == b"a\nb\nc\n"
    assert (outcome.code, outcome.last_line) == (7, "c")


async def test_nothing_but_the_given_environment_is_inherited(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIEN", "1")
    outcome = await launcher.capture(shell("env; pwd", tmp_path), 10_000)
    assert "ALIEN" not in outcome.output
    assert str(tmp_path) in outcome.output.splitlines()


async def test_captured_output_is_limited(launcher: Launcher, tmp_path: Path) -> None:
    with pytest.raises(OutputTooLargeError):
        await launcher.capture(shell("yes", tmp_path), 100_000)


async def test_capture_keeps_errors_apart(launcher: Launcher, tmp_path: Path) -> None:
    outcome = await launcher.capture(shell("echo out; echo err >&2", tmp_path), 1000)
    assert (outcome.output, outcome.tail) == ("out\n", "err\n")


async def test_cancelling_kills_children_that_left_the_group(
    launcher: Launcher, tmp_path: Path
) -> None:
    started = asyncio.Event()
    marker = f"7{os.getpid()}.{id(tmp_path) % 10**6}"
    script = f"trap '' TERM; setsid sleep {marker} & echo up; sleep {marker}"
    task = asyncio.create_task(
        launcher.run(shell(script, tmp_path), lambda piece: started.set() if piece else None)
    )
    async with asyncio.timeout(30):
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while _running(marker):  # noqa: ASYNC110  # the kernel sends no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("by_launcher", [True, False])
async def test_cancelling_a_command_that_still_starts_kills_its_children(
    tmp_path: Path, *, by_launcher: bool
) -> None:
    marker = f"9{os.getpid()}.{id(tmp_path) % 10**6}"
    script = f"sleep {marker} & echo up > {tmp_path / 'up'}; wait"
    launcher = Launcher(str(tmp_path))
    launcher._prefix = ()
    task = asyncio.create_task(
        launcher.run(shell(script, tmp_path), lambda _: None)
        if by_launcher
        else run_command("sh", "-c", script, seconds=60)
    )

    async with asyncio.timeout(30):
        while not (tmp_path / "up").exists():
            await asyncio.sleep(0)
            # Hold the loop: the child is up before asyncio has connected its pipes.
            time.sleep(0.1)  # noqa: ASYNC251
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while _running(marker):  # noqa: ASYNC110  # the kernel sends no event
            await asyncio.sleep(0.01)


async def test_leftovers_of_a_launcher_are_found_by_its_owner(
    launcher: Launcher, tmp_path: Path
) -> None:
    started = asyncio.Event()
    marker = f"8{os.getpid()}.{id(tmp_path) % 10**6}"
    command = shell(f"echo up; sleep {marker}", tmp_path)
    task = asyncio.create_task(launcher.run(command, lambda _: started.set()))
    async with asyncio.timeout(30):
        await started.wait()
        Launcher("another").kill_leftovers()
        assert not task.done()
        Launcher(str(tmp_path)).kill_leftovers()
        assert (await task).code != 0
        while _running(marker):  # noqa: ASYNC110  # the kernel sends no event
            await asyncio.sleep(0.01)


def _running(marker: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


async def test_a_command_that_cannot_be_started_is_not_called_missing(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    refused = await run_command(str(plain))
    assert (refused.code, refused.tail) == (CANNOT_RUN, f"{plain}: Permission denied")
    missing = await run_command(str(tmp_path / "missing"))
    assert missing.code == NOT_FOUND
