"""Faults of Podman itself: its service killed, stopped or not startable, one container broken."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.workload.podman_faults import lose_layer, lose_record, monitors_of, service_of
from tests.support.workload.podman_home import OWNER, PodmanHome, Workload
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.machine.components import Components, ComponentState, WatchedComponent
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import ExecProbe, Owner, ProbeSpec
from upwell.workload.interface import State
from upwell.workload.podman.api import client
from upwell.workload.podman.api import service as podman_service
from upwell.workload.podman.containers import cut_starts
from upwell.workload.podman.containers.body import container_name
from upwell.workload.podman.records import InstanceRecord, RecordStore
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

PATIENCE = 3
NAMES = ("web-1-a", "web-1-b")


async def until(
    component: WatchedComponent, holds: Callable[[ComponentState], bool]
) -> ComponentState:
    async def state() -> ComponentState:
        return component.state

    return await eventually(state, holds)


@asynccontextmanager
async def told(runtime: PodmanRuntime) -> AsyncIterator[list[Owner]]:
    """Collect the owners that are told of while the block lasts."""
    owners: list[Owner] = []

    async def listen() -> None:
        async for owner in runtime.changes():
            owners.append(owner)  # noqa: PERF401 - while it goes on

    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        await asyncio.sleep(0)
        yield owners
        listening.cancel()


async def start_all(runtime: PodmanRuntime, workload: Workload) -> None:
    for name in NAMES:
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=name))


async def running(runtime: PodmanRuntime) -> list[str]:
    return [one.name for one in await runtime.instances() if one.state is State.RUNNING]


@pytest.fixture
def component() -> WatchedComponent:
    return Components().add("podman")


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_service_that_is_gone_or_hangs_is_noticed_and_started_anew_by_itself(
    settings: PodmanSettings,
    workload: Workload,
    component: WatchedComponent,
    kill: signal.Signals,
) -> None:
    async with PodmanRuntime.open(settings, component=component) as runtime:
        await start_all(runtime, workload)
        before = await runtime.instances()
        old = service_of(settings)
        async with told(runtime) as owners:
            began = asyncio.get_running_loop().time()
            os.kill(old, kill)
            await until(component, lambda seen: seen.faulty or seen.restarts > 0)
            noticed = asyncio.get_running_loop().time() - began
            await until(component, lambda seen: not seen.faulty and seen.restarts > 0)
            up = asyncio.get_running_loop().time() - began
            assert component.state.restarts == 1
            assert service_of(settings) not in {0, old}
            assert await runtime.instances() == before
            assert OWNER in owners
        # Under 2 and 5 seconds, with room for a machine that is busy with other tests.
        assert (noticed < 2 * PATIENCE, up < 5 * PATIENCE) == (True, True), (noticed, up)


async def test_a_request_under_way_fails_when_the_service_hangs_and_may_be_made_again(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await start_all(runtime, workload)
        os.kill(service_of(settings), signal.SIGSTOP)
        with pytest.raises(RuntimeUnavailableError) as refused:
            await runtime.stop(NAMES[0], 0)
        assert refused.value.retryable
        await runtime.stop(NAMES[0], 0)
        assert await running(runtime) == list(NAMES[1:])


async def test_a_service_that_cannot_be_started_is_tried_again_and_says_why(
    settings: PodmanSettings, workload: Workload, component: WatchedComponent, tmp_path: Path
) -> None:
    podman = tmp_path / "podman"
    podman.write_text('#!/bin/sh\nexec podman "$@"\n')
    podman.chmod(0o755)
    async with PodmanRuntime.open(
        replace(settings, podman=str(podman)), component=component
    ) as runtime:
        await start_all(runtime, workload)
        podman.write_text("#!/bin/sh\necho storage is damaged >&2\nexit 125\n")
        os.kill(service_of(settings), signal.SIGKILL)
        state = await until(component, lambda seen: seen.reason == "ServiceNotStarted")
        assert "storage is damaged" in state.message
        with pytest.raises(RuntimeUnavailableError, match="storage is damaged"):
            await runtime.instances()

        podman.chmod(stat.S_IRUSR)
        await until(component, lambda seen: "storage is damaged" not in seen.message)
        podman.chmod(0o755)
        podman.write_text('#!/bin/sh\nexec podman "$@"\n')
        await until(component, lambda seen: not seen.faulty)
        assert await running(runtime) == list(NAMES)


@pytest.mark.parametrize(
    "fault", ["echo storage is damaged >&2; exit 125", "exec sleep 1000"], ids=["fails", "hangs"]
)
async def test_the_runtime_opens_while_podman_cannot_and_goes_on_by_itself(
    settings: PodmanSettings,
    workload: Workload,
    component: WatchedComponent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(podman_service, "_START_SECONDS", PATIENCE)
    podman = tmp_path / "podman"
    podman.write_text(f"#!/bin/sh\n{fault}\n")
    podman.chmod(0o755)
    async with PodmanRuntime.open(
        replace(settings, podman=str(podman)), component=component
    ) as runtime:
        state = await until(component, lambda seen: seen.reason == "ServiceNotStarted")
        assert "storage is damaged" in state.message or "did not answer" in state.message
        with pytest.raises(RuntimeUnavailableError):
            await runtime.service_network()

        podman.write_text('#!/bin/sh\nexec podman "$@"\n')
        monkeypatch.undo()
        await until(component, lambda seen: not seen.faulty)
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=NAMES[0]))
        assert await running(runtime) == [NAMES[0]]


@pytest.mark.parametrize("stop", [signal.SIGCONT, signal.SIGSTOP], ids=["runs", "stopped"])
async def test_a_service_that_a_killed_server_left_is_ended_by_the_next_start(
    settings: PodmanSettings, workload: Workload, stop: signal.Signals
) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    orphan = podman_service.PodmanService(settings)  # as of a server that is gone
    await orphan.ensure()
    pid = service_of(settings)
    os.kill(pid, stop)
    async with PodmanRuntime.open(settings) as runtime:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await orphan.ended()
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=NAMES[0]))
        assert await running(runtime) == [NAMES[0]]
        assert service_of(settings) not in {0, pid}
        for leftover in await runtime.leftovers():
            await runtime.remove_leftover(leftover)
        assert not orphan.socket.exists()


async def test_a_network_that_somebody_removed_is_made_anew(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        podman_home.run("network", "rm", settings.network_name)
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=NAMES[0]))
        assert await running(runtime) == [NAMES[0]]


async def test_the_storage_of_a_container_that_podman_does_not_know_is_in_nobodys_way(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    spec = workload.spec(workload.container("sleep", "600"), name=NAMES[0])
    name = container_name(settings.instance_id, spec.name, spec.containers[0].name)
    image = str(spec.containers[0].image)
    podman_home.run("create", "--name", name, image, "/bin/busybox", "true")
    lose_record(podman_home, name)

    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)

        assert await running(runtime) == [NAMES[0]]


async def test_without_podman_the_start_is_refused_with_the_next_step(
    settings: PodmanSettings,
) -> None:
    with pytest.raises(RuntimeUnavailableError, match="not installed: apt install podman"):
        async with PodmanRuntime.open(replace(settings, podman="no-such-podman")):
            pass


async def test_a_service_that_ends_again_and_again_is_started_ever_more_rarely(
    settings: PodmanSettings, workload: Workload, component: WatchedComponent, tmp_path: Path
) -> None:
    podman = tmp_path / "podman"
    podman.write_text('#!/bin/sh\nexec timeout 0.5 podman "$@"\n')
    podman.chmod(0o755)
    async with PodmanRuntime.open(
        replace(settings, podman=str(podman)), component=component
    ) as runtime:
        await until(component, lambda seen: "ends as soon as it runs" in seen.message)
        assert component.state.restarts >= 3
        podman.write_text('#!/bin/sh\nexec podman "$@"\n')
        await until(component, lambda seen: not seen.faulty)
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=NAMES[0]))
        assert await running(runtime) == [NAMES[0]]


async def test_a_change_in_the_gap_of_the_event_stream_is_not_lost(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await start_all(runtime, workload)
        os.kill(service_of(settings), signal.SIGKILL)
        podman_home.run("kill", f"upwell-{settings.instance_id}.{NAMES[0]}.web")

        async with told(runtime) as owners:
            await eventually(lambda: asyncio.sleep(0, owners), lambda seen: OWNER in seen)
            await eventually(lambda: running(runtime), lambda seen: seen == list(NAMES[1:]))


async def test_one_broken_container_costs_one_instance_which_is_made_anew(
    settings: PodmanSettings,
    workload: Workload,
    podman_home: PodmanHome,
    component: WatchedComponent,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with PodmanRuntime.open(settings, component=component) as runtime:
        await start_all(runtime, workload)
    broken = f"upwell-{settings.instance_id}.{NAMES[0]}.web"
    lose_layer(podman_home, broken)
    async with PodmanRuntime.open(settings, component=component) as runtime:
        assert await running(runtime) == list(NAMES[1:])
        await runtime.start(workload.spec(workload.container("sleep", "600"), name=NAMES[0]))
        assert await running(runtime) == list(NAMES)
        assert not component.state.faulty
    assert "layer not known" in caplog.records[0].__dict__["why"]
    assert len(caplog.records) == 1


async def test_a_broken_container_that_nobody_asks_for_is_removed_and_its_owner_told(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    broken = f"upwell-{settings.instance_id}.{NAMES[0]}.web"
    async with PodmanRuntime.open(settings) as runtime:
        await start_all(runtime, workload)
        lose_layer(podman_home, broken)
        async with told(runtime) as owners:
            podman_home.run("kill", broken)
            await eventually(
                lambda: asyncio.to_thread(podman_home.run, "ps", "--all", "--format={{.Names}}"),
                lambda names: broken not in names,
            )
            await eventually(lambda: asyncio.sleep(0, owners), lambda seen: OWNER in seen)
        assert await running(runtime) == list(NAMES[1:])


async def test_when_every_container_is_refused_none_is_removed(
    settings: PodmanSettings,
    workload: Workload,
    podman_home: PodmanHome,
    component: WatchedComponent,
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await start_all(runtime, workload)
    [layers] = (podman_home.root / "storage").glob("*-layers/layers.json")
    kept = layers.read_text()
    for name in NAMES:
        lose_layer(podman_home, f"upwell-{settings.instance_id}.{name}.web")
    async with PodmanRuntime.open(settings, component=component) as runtime:
        with pytest.raises(RuntimeUnavailableError, match="podman system check"):
            await runtime.instances()
        await until(component, lambda seen: seen.reason == "ContainersNotListed")
        with pytest.raises(RuntimeUnavailableError, match="podman system check"):
            await runtime.stop(NAMES[0], 0)
        layers.write_text(kept)
        await until(component, lambda seen: not seen.faulty)
        assert await running(runtime) == list(NAMES)


async def test_a_service_killed_in_the_middle_of_removals_leaves_nothing_in_the_way(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await start_all(runtime, workload)

        for pause in (0.0, 0.03, 0.06, 0.12):
            stops = [asyncio.create_task(runtime.stop(name, 0)) for name in NAMES]
            await asyncio.sleep(pause)
            if pid := service_of(settings):
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*stops, return_exceptions=True)
            async with asyncio.timeout(DEADLINE_SECONDS):
                while sorted(await _running_or_none(runtime)) != sorted(NAMES):
                    for name in NAMES:
                        spec = workload.spec(workload.container("sleep", "600"), name=name)
                        with contextlib.suppress(RuntimeUnavailableError):
                            await runtime.start(spec)
        for name in NAMES:
            await runtime.stop(name, 0)
        assert await runtime.instances() == []
        assert await runtime.leftovers() == []
    names = podman_home.run("ps", "--all", "--external", "--format={{.Names}}")
    assert settings.instance_id not in names


async def _running_or_none(runtime: PodmanRuntime) -> list[str]:
    try:
        return await running(runtime)
    except RuntimeUnavailableError:
        return []


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_container_is_not_accused_of_what_the_service_did(
    settings: PodmanSettings,
    workload: Workload,
    component: WatchedComponent,
    kill: signal.Signals,
) -> None:
    # Time enough for a busy machine: a command that is late is the container's fault.
    true = ExecProbe(("/bin/busybox", "true"))
    probe = ProbeSpec(true, period=0.05, timeout=30, failure_threshold=1)
    probed = replace(workload.container("sleep", "600"), liveness=probe, readiness=probe)
    async with PodmanRuntime.open(settings, component=component) as runtime:
        await runtime.start(workload.spec(probed))
        [before] = await eventually(runtime.instances, lambda seen: seen[0].ready)
        os.kill(service_of(settings), kill)
        await until(component, lambda seen: not seen.faulty and seen.restarts > 0)
        [after] = await runtime.instances()
        assert (after.ready_since, after.containers) == (before.ready_since, before.containers)


async def test_a_fault_that_concerns_one_instance_leaves_the_others_alone(
    settings: PodmanSettings,
    workload: Workload,
    podman_home: PodmanHome,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save = RecordStore.change

    def change(
        store: RecordStore, name: str, change: Callable[[InstanceRecord], InstanceRecord]
    ) -> None:
        if name == NAMES[0]:
            raise ZeroDivisionError
        save(store, name, change)

    monkeypatch.setattr(RecordStore, "change", change)
    label = f"--label=upwell.dev/instance={settings.instance_id}"
    evil = ("--label=upwell.dev/replica=../evil", "--label=upwell.dev/init=0")
    probed = replace(
        workload.container("sleep", "600"),
        readiness=ProbeSpec(ExecProbe(("/bin/busybox", "true")), period=0.05),
    )
    async with PodmanRuntime.open(settings) as runtime:
        image = str(workload.image)
        podman_home.run("create", label, *evil, "--network=none", image, "/bin/busybox", "true")
        for name in NAMES:
            await runtime.start(workload.spec(probed, name=name))

        async def ready() -> list[str]:
            return [one.name for one in await runtime.instances() if one.ready]

        await eventually(ready, lambda seen: seen == list(NAMES[1:]))
        await eventually(
            lambda: asyncio.sleep(0, caplog.records),
            lambda seen: any(one.__dict__.get("instance") == NAMES[0] for one in seen),
        )
        await runtime.stop(NAMES[0], 0)
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1


@dataclass(frozen=True)
class FaultyCreations:
    """Settings under which something happens to the next creations of containers."""

    settings: PodmanSettings
    next: Path
    """A shell command in a line for each; it may use `$$` and `create`."""
    late: Path
    """Holds the seconds for which the runtime stays when it has started a container."""


@pytest.fixture
def creations(settings: PodmanSettings, tmp_path: Path) -> FaultyCreations:
    assert settings.containers_conf is not None
    conf = settings.containers_conf.read_text()
    found = re.search(r'^runtime = "(\w+)"', conf, re.MULTILINE)
    runtime = found[1] if found else "crun"
    faults, late, program = tmp_path / "faults", tmp_path / "late", tmp_path / runtime
    program.write_text(
        f"""#!/bin/sh
create() {{ {shutil.which(runtime)} "$@"; }}
case " $* " in *" create "*) if test -s {faults}; then
    fault=$(head -n 1 {faults}); sed -i 1d {faults}; eval "$fault"
fi;;
*" start "*) if test -s {late}; then
    {shutil.which(runtime)} "$@"; code=$?; sleep "$(cat {late})"; exit $code
fi;; esac
exec {shutil.which(runtime)} "$@"
"""
    )
    program.chmod(0o755)
    changed = tmp_path / "containers.conf"
    changed.write_text(f'{conf}\n[engine.runtimes]\n{runtime} = ["{program}"]\n')
    return FaultyCreations(replace(settings, containers_conf=changed), faults, late)


KILLED = 'create "$@"; kill -9 $$'
"""As by the kernel when memory runs out."""


@pytest.mark.parametrize(
    "fault",
    [
        KILLED,
        pytest.param(
            "exec sleep 1000",
            marks=on_demand(
                "tests/integration/workload/test_podman_faults.py::"
                "test_a_container_runtime_that_comes_to_nothing_holds_nobody_up"
            ),
        ),
        "kill -STOP $PPID; exec sleep 1000",
    ],
)
async def test_a_container_runtime_that_comes_to_nothing_holds_nobody_up(
    creations: FaultyCreations, workload: Workload, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_starts, "_LOOK_SECONDS", 1.0)
    spec = workload.spec(workload.container("sleep", "600"), name=NAMES[0])
    async with PodmanRuntime.open(creations.settings) as runtime:
        creations.next.write_text(f"{fault}\n")
        with pytest.raises(RuntimeUnavailableError, match="the container runtime "):
            await runtime.start(spec)
        await runtime.start(spec)
        assert await running(runtime) == [NAMES[0]]
        assert len(monitors_of(creations.settings)) == 1


async def test_a_start_that_takes_long_and_goes_on_is_waited_for_and_told(
    creations: FaultyCreations, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_starts, "_LOOK_SECONDS", 1.0)
    monkeypatch.setattr(cut_starts, "_IDLE_LOOKS", 3)
    monkeypatch.setattr(client, "_SLOW_START_SECONDS", 0.5)
    monkeypatch.setattr(client, "_LIST_TIMEOUT", aiohttp.ClientTimeout(total=1.0))
    told = creations.next.with_name("told")
    slow = f"until test -e {told}; do sleep 0.2; echo on; done >/dev/null"
    creations.next.write_text(f"{slow}\n")
    spec = workload.spec(workload.container("sleep", "600"), name=NAMES[0])
    async with PodmanRuntime.open(creations.settings) as runtime:
        start = asyncio.create_task(runtime.start(spec))

        async def why() -> str:
            try:
                await runtime.instances()
            except RuntimeUnavailableError as error:
                return str(error)
            return ""

        async def monitors() -> list[int]:
            return monitors_of(creations.settings)

        await eventually(monitors, bool)
        # Podman mostly holds its list back meanwhile, for as long as it is asked; not always.
        looks = [await why() for _ in range(4)]
        assert all("has been starting container" in look for look in looks if look), looks
        assert not start.done()
        told.touch()
        await start
        monkeypatch.undo()
        assert await running(runtime) == [NAMES[0]]
        assert len(monitors_of(creations.settings)) == 1


async def test_what_a_killed_creation_left_goes_when_the_instance_is_made_anew(
    creations: FaultyCreations, workload: Workload
) -> None:
    settings = creations.settings
    spec = workload.spec(workload.container("sleep", "600"), name=NAMES[0])

    async def monitors() -> list[int]:
        return monitors_of(settings)

    creations.next.write_text(f"{KILLED}\n")
    async with PodmanRuntime.open(settings) as runtime:
        start = asyncio.create_task(runtime.start(spec))
        (left,) = await eventually(monitors, bool)
        await eventually(lambda: asyncio.to_thread(creations.next.read_text), "".__eq__)
        start.cancel()
        await asyncio.wait([start])
        os.kill(service_of(settings), signal.SIGKILL)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)
        assert await running(runtime) == [NAMES[0]]
        await eventually(monitors, lambda found: left not in found)
        assert len(await monitors()) == 1


async def test_a_container_that_runs_is_not_ended_as_its_start_is_answered_late(
    creations: FaultyCreations, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_starts, "_LOOK_SECONDS", 1.5)
    creations.late.write_text("5")
    spec = workload.spec(workload.container("sleep", "600"), name=NAMES[0])
    async with PodmanRuntime.open(creations.settings) as runtime:
        await runtime.start(spec)
        assert await running(runtime) == [NAMES[0]]
