"""Power cuts with a real Podman: what is lost is known as lost, and started anew at once."""

import asyncio
import json
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload, podman_home_in
from tests.support.workload.power import cut_power
from tests.support.workload.waiting import eventually

from upwell.machine.folder import remove_deep
from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.interface import Instance, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

NOTICED_SECONDS = 5.0
"""Without a look of our own it would be 15; a machine that is busy with tests has some to spare."""
SERVE = ("sleep", "600")
KEPT_OR_WIPED = pytest.mark.parametrize("wipe", [True, False], ids=["wiped", "kept"])


@pytest.fixture
def home() -> Iterator[PodmanHome]:
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-power-"))) as made:
        yield made


@pytest.fixture
def own(home: PodmanHome) -> Iterator[PodmanSettings]:
    name = uuid.uuid4().hex[:8]
    made = PodmanSettings(
        data_dir=home.root / name,
        instance_id=name,
        storage_root=home.root / "storage",
        run_root=home.root / "run",
        containers_conf=home.conf,
    )
    yield made
    with suppress(AssertionError):
        # Where the power was cut in the middle of a removal, the first one says so and goes on.
        home.run("rm", "--all", "--force", "--time=0")
    home.run("rm", "--all", "--force", "--time=0")
    home.run("network", "rm", "--force", f"upwell-{name}")
    remove_deep(made.temporary_root)


@pytest.fixture
def workload(home: PodmanHome) -> Workload:
    return Workload(home.image)


def once(workload: Workload, script: str) -> InstanceSpec:
    spec = workload.spec(workload.container("sh", "-c", script), name="job-1-a")
    return replace(spec, once=True, role="job")


def cut(own: PodmanSettings, *, wipe: bool) -> None:
    assert own.storage_root is not None
    assert own.run_root is not None
    cut_power((own.data_dir, own.storage_root.parent), (own.run_root,), wipe=wipe)


async def by_name(runtime: PodmanRuntime) -> Mapping[str, Instance]:
    return {one.name: one for one in await runtime.instances()}


async def until(runtime: PodmanRuntime, name: str, holds: Callable[[Instance], bool]) -> Instance:
    found = await eventually(lambda: by_name(runtime), lambda seen: holds(seen[name]))
    return found[name]


async def running(runtime: PodmanRuntime, spec: InstanceSpec) -> Instance:
    await runtime.start(spec)
    return await until(runtime, spec.name, lambda one: one.state is State.RUNNING)


@KEPT_OR_WIPED
async def test_what_a_power_cut_ended_is_lost_and_what_ended_before_is_not(
    own: PodmanSettings, workload: Workload, *, wipe: bool
) -> None:
    service = workload.spec(workload.container(*SERVE), workload.container(*SERVE, name="beside"))
    passed = replace(once(workload, "exit 0"), name="passed-1-a")
    failed = replace(once(workload, "exit 3"), name="failed-1-a")
    test = once(workload, "sleep 600; exit 1")
    async with PodmanRuntime.open(own) as runtime:
        for spec in (service, test):
            await running(runtime, spec)
        for spec in (passed, failed):
            await runtime.start(spec)
            await until(runtime, spec.name, lambda one: one.state is State.EXITED)
        cut(own, wipe=wipe)

    async with PodmanRuntime.open(own) as runtime:
        found = await by_name(runtime)
        for name in (service.name, test.name):
            lost = found[name]
            assert (lost.state, lost.succeeded, dict(lost.exit_codes)) == (State.LOST, False, {})
            assert (lost.ready, lost.address, lost.losses, lost.restarts) == (False, "", 1, 0)
        assert found[passed.name].succeeded
        assert dict(found[failed.name].exit_codes) == {"web": 3}

        for spec in (service, test):
            again = await running(runtime, spec)
            assert (again.restarts, again.losses) == (0, 1)
        assert (await by_name(runtime))[service.name].ready
        assert await runtime.execute(service.name, ("/bin/busybox", "true")) == (0, b"")

    async with PodmanRuntime.open(own) as runtime:
        assert (await by_name(runtime))[service.name].ready


@KEPT_OR_WIPED
async def test_losses_in_a_row_are_counted_until_an_end_is_known(
    own: PodmanSettings, workload: Workload, *, wipe: bool
) -> None:
    spec = once(workload, "sleep 600")
    for expected in (0, 1):
        async with PodmanRuntime.open(own) as runtime:
            assert (await running(runtime, spec)).losses == expected
            cut(own, wipe=wipe)
    async with PodmanRuntime.open(own) as runtime:
        assert (await by_name(runtime))[spec.name].losses == 2
        await runtime.start(once(workload, "exit 3"))
        await until(runtime, spec.name, lambda one: one.state is State.EXITED)
        await runtime.start(spec)
        assert (await by_name(runtime))[spec.name].losses == 0


async def state_of(home: PodmanHome) -> Mapping[str, Any]:
    [container] = json.loads(await asyncio.to_thread(home.run, "inspect", "--latest"))
    found: Mapping[str, Any] = container["State"]
    return found


async def test_a_container_that_dies_with_its_monitor_is_noticed_while_we_run(
    own: PodmanSettings, home: PodmanHome, workload: Workload
) -> None:
    spec = workload.spec(workload.container(*SERVE))
    async with PodmanRuntime.open(own) as runtime:
        await running(runtime, spec)
        told = runtime.changes()
        state = await state_of(home)
        await asyncio.to_thread(_kill, state["ConmonPid"])
        assert (await by_name(runtime))[spec.name].ready, "its process still serves"

        await asyncio.to_thread(_kill, state["Pid"])
        async with asyncio.timeout(NOTICED_SECONDS):
            async for _ in told:
                if (await by_name(runtime))[spec.name].state is State.LOST:
                    break

        await running(runtime, spec)
        assert (await by_name(runtime))[spec.name].ready


async def test_a_process_that_has_its_number_now_is_neither_taken_for_it_nor_harmed(
    own: PodmanSettings, home: PodmanHome, workload: Workload
) -> None:
    spec = workload.spec(workload.container(*SERVE))
    async with PodmanRuntime.open(own) as runtime:
        await running(runtime, spec)
        cut(own, wipe=False)
    with _stranger_with_number_of_container(home) as stranger:
        async with PodmanRuntime.open(own) as runtime:
            assert (await by_name(runtime))[spec.name].state is State.LOST
            begun = time.monotonic()
            await running(runtime, spec)
            assert time.monotonic() - begun < 10
            assert len(await runtime.instances()) == 1
            await runtime.stop(spec.name, 0)
            assert await runtime.instances() == []
        assert stranger.poll() is None


async def test_another_boot_of_the_machine_knows_of_nothing_that_runs(
    own: PodmanSettings, workload: Workload
) -> None:
    spec = workload.spec(workload.container(*SERVE))
    async with PodmanRuntime.open(own) as runtime:
        await running(runtime, spec)
        cut(own, wipe=False)
    assert own.run_root is not None
    (own.run_root / "boot-identity").write_text("that of the boot before")
    leftover = own.run_root / "leftover"
    leftover.touch()

    async with PodmanRuntime.open(own) as runtime:
        assert not leftover.exists()
        assert (await by_name(runtime))[spec.name].state is State.LOST
        assert (await running(runtime, spec)).ready

    leftover.touch()
    async with PodmanRuntime.open(own) as runtime:
        assert (await by_name(runtime))[spec.name].ready
        assert leftover.exists(), "the same boot: it may run"


@contextmanager
def _stranger_with_number_of_container(home: PodmanHome) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            _give_number_of_container_to(stranger.pid, home)
            yield stranger
        finally:
            stranger.kill()


def _give_number_of_container_to(pid: int, home: PodmanHome) -> None:
    [database] = home.root.rglob("db.sql")
    with closing(sqlite3.connect(database)) as connection, connection:
        [(container, text)] = connection.execute("SELECT ID, JSON FROM ContainerState")
        state = {**json.loads(text), "pid": pid, "conmonPid": pid}
        change = "UPDATE ContainerState SET JSON = ? WHERE ID = ?"
        connection.execute(change, (json.dumps(state), container))


def _kill(pid: int) -> None:
    subprocess.run(["kill", "-9", str(pid)], check=True)
