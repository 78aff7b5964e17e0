"""Readiness and liveness of real containers, and who is told."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.support.workload.podman_home import OWNER, PodmanHome, Workload
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.workload.instance_spec import (
    ContainerSpec,
    ExecProbe,
    HttpProbe,
    InstanceSpec,
    ProbeSpec,
    TcpProbe,
)
from upwell.workload.interface import Instance, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

NAME = "web-1-a"
SITE = """
trap 'exit 0' TERM
mkdir /www
echo up > /www/healthz
httpd -f -p 8080 -h /www & wait
"""
HTTP = HttpProbe(8080, "/healthz", headers=(("X-Probe", "1"),))
EXEC = ExecProbe(("/bin/busybox", "cat", "/www/healthz"))


def quick(check: HttpProbe | TcpProbe | ExecProbe, failures: int = 1) -> ProbeSpec:
    return ProbeSpec(check, period=0.1, timeout=2, failure_threshold=failures)


def probed(workload: Workload, **probes: ProbeSpec) -> InstanceSpec:
    container: ContainerSpec = workload.container("sh", "-c", SITE)
    return workload.spec(replace(container, **probes))  # type: ignore[arg-type]


def one(runtime: PodmanRuntime) -> Callable[[], Awaitable[Instance]]:
    async def observe() -> Instance:
        [instance] = await runtime.instances()
        return instance

    return observe


@asynccontextmanager
async def told(runtime: PodmanRuntime) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Listen to changes; the function returns once another one was told."""
    owners: asyncio.Queue[object] = asyncio.Queue()

    async def listen() -> None:
        async for owner in runtime.changes():
            owners.put_nowait(owner)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    try:
        yield lambda: asyncio.wait_for(owners.get(), DEADLINE_SECONDS)
    finally:
        task.cancel()


@pytest.mark.parametrize("check", [HTTP, EXEC], ids=["http", "exec"])
async def test_readiness_turns_with_what_the_probe_finds(
    settings: PodmanSettings, workload: Workload, check: HttpProbe | ExecProbe
) -> None:
    async with PodmanRuntime.open(settings) as runtime, told(runtime) as change:
        await runtime.start(probed(workload, readiness=quick(check)))
        ready = await eventually(one(runtime), lambda seen: seen.ready)
        assert ready.ready_since is not None
        assert ready.ready_since >= ready.started_at
        assert await change() == OWNER

        await runtime.execute(NAME, ("/bin/busybox", "rm", "/www/healthz"))
        unready = await eventually(one(runtime), lambda seen: not seen.ready)
        assert unready.state is State.RUNNING
        assert "readiness probe" in unready.message
        assert await change() == OWNER

        await runtime.execute(NAME, ("/bin/busybox", "touch", "/www/healthz"))
        again = await eventually(one(runtime), lambda seen: seen.ready)
        assert again.ready_since is not None
        assert again.ready_since > ready.ready_since


async def test_a_port_that_nobody_listens_on_is_not_ready(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(probed(workload, readiness=quick(TcpProbe(8081))))
        seen = await eventually(one(runtime), lambda seen: "readiness probe" in seen.message)
        assert not seen.ready
        assert seen.state is State.RUNNING
        await runtime.stop(NAME, 0)

        await runtime.start(probed(workload, readiness=quick(TcpProbe(8080))))
        await eventually(one(runtime), lambda seen: seen.ready)


async def test_a_ready_instance_stays_ready_over_a_restart_of_upwell(
    settings: PodmanSettings, workload: Workload
) -> None:
    slow = ProbeSpec(HTTP, initial_delay=0.2, period=0.1)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(probed(workload, readiness=slow))
        before = await eventually(one(runtime), lambda seen: seen.ready)

    async with PodmanRuntime.open(settings) as successor:
        assert await one(successor)() == before, "no gap in its traffic"
        remove = ("/bin/busybox", "rm", "/www/healthz")
        await successor.execute(NAME, remove)
        await eventually(one(successor), lambda seen: not seen.ready)


async def test_a_failed_liveness_probe_ends_the_instance(
    settings: PodmanSettings, workload: Workload
) -> None:
    # Until then the server listens, and says no.
    liveness = ProbeSpec(HttpProbe(8080, "/missing"), period=0.05, failure_threshold=20)
    spec = probed(workload, liveness=liveness)
    async with PodmanRuntime.open(settings) as runtime, told(runtime) as change:
        await runtime.start(spec)
        ended = await eventually(one(runtime), lambda seen: seen.state is State.EXITED)
        assert "liveness probe failed: /missing answered 404" in ended.message
        assert await change() == OWNER

        await runtime.start(probed(workload))
        again = await one(runtime)()
        assert (again.state, again.restarts, again.message) == (State.RUNNING, 1, "")


async def test_a_slow_command_is_ended_with_its_probe(
    settings: PodmanSettings, workload: Workload
) -> None:
    hangs = ProbeSpec(ExecProbe(("/bin/busybox", "sleep", "4321")), period=60, timeout=0.3)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(probed(workload, readiness=hangs))
        await eventually(one(runtime), lambda seen: "no answer within 0.3 s" in seen.message)
    await eventually(lambda: running("sleep 4321"), lambda count: count == 0)


async def running(command: str) -> int:
    process = await asyncio.create_subprocess_exec(
        "pgrep", "--full", "--count", command, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    return int(output)


async def test_changes_are_told_although_the_service_dies(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime, told(runtime) as change:
        await runtime.start(workload.spec(workload.container("sleep", "60")))
        assert await change() == OWNER
        process = runtime._api._connection.service._process
        assert process is not None
        process.kill()
        await process.wait()

        name = f"upwell-{settings.instance_id}.{NAME}.web"
        await asyncio.to_thread(podman_home.run, "kill", name)
        assert await change() == OWNER
        assert (await one(runtime)()).state is State.EXITED
