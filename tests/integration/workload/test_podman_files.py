"""Files read out of real containers, running and ended, that want to do harm."""

import asyncio

import pytest
from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.workload.errors import RuntimeUnavailableError, UnreadableFilesError
from upwell.workload.interface import FileLimits, Instance, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

LIMITS = FileLimits(content_bytes=1024 * 1024, entries=20)


async def run_to_its_end(runtime: PodmanRuntime, workload: Workload, script: str) -> str:
    spec = workload.spec(workload.container("sh", "-ec", script))
    await runtime.start(spec)

    async def only() -> Instance:
        [instance] = await runtime.instances()
        return instance

    ended = await eventually(only, lambda one: one.state is State.EXITED)
    assert ended.succeeded, ended.message

    async def readable() -> bool:
        try:
            return bool(await runtime.read_files(spec.name, "/bin/bash", LIMITS))
        except RuntimeUnavailableError:
            return False  # Podman is still about to clean up after it

    await eventually(readable, bool)
    return spec.name


async def test_a_file_and_a_folder_are_read_after_the_container_has_ended(
    settings: PodmanSettings, workload: Workload
) -> None:
    script = "mkdir -p /out/deep; echo one > /out/a.xml; echo two > /out/deep/b.xml"
    async with PodmanRuntime.open(settings) as runtime:
        name = await run_to_its_end(runtime, workload, script)
        [file] = await runtime.read_files(name, "/out/a.xml", LIMITS)
        folder = await runtime.read_files(name, "/out", LIMITS)

        assert (file.path, file.content) == ("a.xml", b"one\n")
        assert {one.path: one.content for one in folder} == {
            "out/a.xml": b"one\n",
            "out/deep/b.xml": b"two\n",
        }
        with pytest.raises(UnreadableFilesError, match="there is no /nothing in web"):
            await runtime.read_files(name, "/nothing", LIMITS)
        with pytest.raises(RuntimeUnavailableError, match="has no container"):
            await runtime.read_files("stranger", "/out", LIMITS)


async def test_a_running_container_is_read_too(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        spec = workload.spec(workload.container("sh", "-c", "echo half > /out; exec sleep 60"))
        await runtime.start(spec)

        async def read() -> list[bytes]:
            try:
                return [one.content for one in await runtime.read_files(spec.name, "/out", LIMITS)]
            except UnreadableFilesError:
                return []

        assert await eventually(read, lambda found: found == [b"half\n"])


async def test_too_much_is_refused_before_it_has_arrived(
    settings: PodmanSettings, workload: Workload
) -> None:
    # A hole of a terabyte takes no room there, and would be a terabyte here.
    script = "mkdir /many; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do"
    script += " echo > /many/$i; done; dd if=/dev/null of=/huge bs=1 seek=1099511627776"
    async with PodmanRuntime.open(settings) as runtime, asyncio.timeout(DEADLINE_SECONDS):
        name = await run_to_its_end(runtime, workload, script)
        with pytest.raises(UnreadableFilesError, match="larger than 1048576 bytes"):
            await runtime.read_files(name, "/huge", LIMITS)
        with pytest.raises(UnreadableFilesError, match="more than 20 files"):
            await runtime.read_files(name, "/many", LIMITS)
        assert (await runtime.instances())[0].state is State.EXITED


async def test_links_lead_to_nothing_of_the_machine(
    settings: PodmanSettings, workload: Workload
) -> None:
    script = (
        "mkdir /out; echo mine > /out/own; ln -s /etc/hostname /out/link; ln -s /etc/shadow /report"
    )
    async with PodmanRuntime.open(settings) as runtime:
        name = await run_to_its_end(runtime, workload, script)
        assert [one.path for one in await runtime.read_files(name, "/out", LIMITS)] == ["out/own"]
        try:
            found = await runtime.read_files(name, "/report", LIMITS)
        except UnreadableFilesError:
            found = []
        assert not found
