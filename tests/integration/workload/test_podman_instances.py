"""Instances in real containers: start, stop, find again, share, refuse."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from tests.support.workload.podman_home import OWNER, PodmanHome, Workload
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.machine.components import Components
from upwell.machine.folder import remove_deep
from upwell.workload.errors import ForbiddenError, RuntimeUnavailableError
from upwell.workload.instance_spec import EmptyDir, Files, HostPath, InstanceMount
from upwell.workload.interface import Instance, LogQuery, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

SERVE = ("httpd", "-f", "-p", "8080", "-h")


async def get(address: str, path: str = "/") -> str:
    """Answer of the instance, once it answers at all."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                async with session.get(f"http://{address}:8080{path}") as response:
                    return (await response.text()).strip()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended since it was listed
            found.append(path.read_bytes().decode(errors="replace"))
    return found


async def only(runtime: PodmanRuntime) -> Instance:
    [instance] = await runtime.instances()
    return instance


async def until_ended(runtime: PodmanRuntime) -> Instance:
    return await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)


async def test_a_started_instance_serves_and_a_stopped_one_is_gone(
    settings: PodmanSettings, workload: Workload
) -> None:
    spec = workload.spec(workload.container(*SERVE, "/bin"))
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)
        await runtime.start(spec)
        instance = await only(runtime)

        assert (instance.name, instance.owner, instance.revision) == ("web-1-a", OWNER, "rev1")
        assert (instance.state, instance.ready, instance.restarts) == (State.RUNNING, True, 0)
        assert instance.ready_since == instance.started_at
        assert instance.images == {"web": workload.image.digest}
        asked = await asyncio.gather(*(runtime.instances() for _ in range(9)))
        assert len({id(one) for [one] in asked}) <= 2, "who asks meanwhile shares one answer"
        assert "404" in await get(instance.address, "/nothing")

        await runtime.stop(spec.name, 0)
        await runtime.stop(spec.name, 0)
        assert await runtime.instances() == []
        assert not (settings.data_dir / "instances" / spec.name).exists()


async def test_instances_outlive_the_process_and_are_found_again(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(workload.container(*SERVE, "/bin")))
        before = await only(runtime)

    async with PodmanRuntime.open(settings) as successor:
        assert await only(successor) == before
        await successor.start(workload.spec(workload.container(*SERVE, "/bin")))
        assert await only(successor) == before
    assert "404" in await get(before.address, "/nothing")


async def test_another_upwell_sees_nothing_of_ours(
    settings: PodmanSettings, workload: Workload
) -> None:
    # Each has a data folder, as who opens one ends the services of Podman that are left there.
    folder = settings.data_dir.with_name(f"{settings.data_dir.name}-stranger")
    stranger = replace(
        settings, data_dir=folder, instance_id="stranger", network=settings.network_name
    )
    podman = Components().add("podman")
    async with (
        PodmanRuntime.open(settings, component=podman) as ours,
        PodmanRuntime.open(stranger) as theirs,
    ):
        await ours.start(workload.spec(workload.container("sleep", "60")))
        assert len(await ours.instances()) == 1
        assert await theirs.instances() == []
    remove_deep(stranger.temporary_root)
    assert not podman.state.faults, "theirs has ended nothing of ours"


async def test_a_crash_on_start_is_reported_with_the_last_lines(
    settings: PodmanSettings, workload: Workload
) -> None:
    crash = "echo starting; echo no database >&2; exit 3"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(workload.container("sh", "-c", crash)))
        instance = await until_ended(runtime)

        assert not instance.ready
        assert instance.message.startswith("container web exited 3: ")
        assert "no database" in instance.message

        await runtime.start(workload.spec(workload.container("sleep", "60")))
        again = await only(runtime)
        assert (again.state, again.restarts, again.message) == (State.RUNNING, 1, "")


async def test_restarts_are_counted_across_processes(
    settings: PodmanSettings, workload: Workload
) -> None:
    crash = workload.spec(workload.container("sh", "-c", "exit 1"))
    for expected in (0, 1, 2):
        async with PodmanRuntime.open(settings) as runtime:
            await runtime.start(crash)
            assert (await until_ended(runtime)).restarts == expected


async def test_a_start_that_was_cut_short_is_finished_by_the_next(
    settings: PodmanSettings, workload: Workload
) -> None:
    spec = workload.spec(
        workload.container("sleep", "60"), workload.container("sleep", "60", name="second")
    )
    for seconds in (0.0, 0.05, 0.1, 0.2, 0.3):
        async with PodmanRuntime.open(settings) as runtime:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await runtime.start(spec)
        async with PodmanRuntime.open(settings) as successor:
            await successor.start(spec)
            instance = await only(successor)
            assert (instance.state, instance.restarts) == (State.RUNNING, 0)
            assert set(instance.images) == {"web", "second"}
            await successor.stop(spec.name, 0)


async def test_many_start_and_stop_at_the_same_time(
    settings: PodmanSettings, workload: Workload
) -> None:
    specs = [workload.spec(workload.container("sleep", "60"), name=f"web-{at}") for at in range(6)]
    async with PodmanRuntime.open(settings) as runtime:
        await asyncio.gather(*(runtime.start(spec) for spec in [*specs, *specs]))
        running = await runtime.instances()
        assert [instance.name for instance in running] == [spec.name for spec in specs]
        assert len({instance.address for instance in running}) == len(specs)
        await asyncio.gather(*(runtime.stop(spec.name, 0) for spec in [*specs, *specs]))
        assert await runtime.instances() == []


async def test_instances_can_be_listed_while_others_come_and_go(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:

        async def come_and_go(name: str) -> None:
            for _ in range(5):
                await runtime.start(workload.spec(workload.container("sleep", "60"), name=name))
                await runtime.stop(name, 0)

        async def look() -> None:
            while True:
                await runtime.instances()

        async with asyncio.TaskGroup() as group:
            looking = group.create_task(look())
            await asyncio.gather(*(come_and_go(name) for name in ("web-a", "web-b", "web-c")))
            looking.cancel()
        assert await runtime.instances() == []


async def test_a_command_that_is_not_in_the_image_is_named(
    settings: PodmanSettings, workload: Workload
) -> None:
    missing = replace(workload.container(), command=("/bin/nothing",))
    async with PodmanRuntime.open(settings) as runtime:
        with pytest.raises(RuntimeUnavailableError, match="/bin/nothing"):
            await runtime.start(workload.spec(missing))
        instance = await only(runtime)
        assert instance.state is State.CREATED
        assert "/bin/nothing" in instance.message

        await runtime.start(workload.spec(workload.container("sleep", "60")))
        assert (await only(runtime)).state is State.RUNNING


async def test_secrets_stay_out_of_command_lines_and_records(
    settings: PodmanSettings, workload: Workload
) -> None:
    secret = "hunter2-5d1f"
    container = replace(
        workload.container("sh", "-c", "echo $PASSWORD; sleep 60"), env={"PASSWORD": secret}
    )
    async with PodmanRuntime.open(settings) as runtime:
        seen: list[str] = []

        async def look() -> None:
            while True:
                seen.extend(await asyncio.to_thread(command_lines))

        watcher = asyncio.create_task(look())
        await runtime.start(workload.spec(container))
        watcher.cancel()

        async def written() -> str:
            return b"".join([piece async for piece in runtime.logs("web-1-a")]).decode()

        await eventually(written, lambda text: secret in text)  # the container itself has it
        assert any("conmon" in line for line in seen), "the start was watched"
        assert not any(secret in line for line in seen)
        record = settings.data_dir / "instances" / "web-1-a" / "record.json"
        assert secret not in record.read_text()
        assert record.stat().st_mode & 0o777 == 0o600


async def test_volumes_hold_files_and_scratch_space(
    settings: PodmanSettings, workload: Workload
) -> None:
    mounts = (InstanceMount("config", "/etc/app"), InstanceMount("scratch", "/scratch"))
    script = (
        "stat -c %a /etc/app/key; cat /etc/app/key; cp /etc/app/key /scratch/; touch /etc/app/x"
    )
    writer = replace(workload.container("sh", "-c", f"{script}; exit 1"), mounts=mounts)
    spec = replace(
        workload.spec(writer),
        volumes={"config": Files({"key": b"abc\n"}, 0o400), "scratch": EmptyDir()},
    )
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)
        ended = await until_ended(runtime)
        assert "400" in ended.message
        assert "abc" in ended.message
        assert "Read-only file system" in ended.message

        reader = replace(workload.container("cat", "/scratch/key"), mounts=mounts)
        await runtime.start(replace(spec, containers=(reader,)))
        again = await until_ended(runtime)
        assert again.message == "container web exited 0: abc", "an emptyDir outlives a restart"


async def test_a_host_path_needs_the_administrator(
    settings: PodmanSettings, workload: Workload, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "greeting").write_text("hello")
    container = replace(
        workload.container("cat", "/host/greeting"), mounts=(InstanceMount("host", "/host"),)
    )
    volumes = {"host": HostPath(str(tmp_path / "data"))}
    spec = replace(workload.spec(container), volumes=volumes)
    async with PodmanRuntime.open(settings) as runtime:
        with pytest.raises(ForbiddenError, match="allowed-host-paths"):
            await runtime.start(spec)
        assert await runtime.instances() == []

    allowed = replace(settings, allowed_host_paths=(str(tmp_path),))
    async with PodmanRuntime.open(allowed) as runtime:
        await runtime.start(spec)
        assert "hello" in (await until_ended(runtime)).message
        await runtime.stop(spec.name, 0)
    assert (tmp_path / "data" / "greeting").read_text() == "hello"


async def test_containers_of_an_instance_share_its_network(
    settings: PodmanSettings, workload: Workload
) -> None:
    server = workload.container(*SERVE, "/bin")
    reach = "until nc 127.0.0.1 8080 </dev/null; do sleep 0.1; done; echo reached"
    ask = f"{reach}; cat /proc/sys/kernel/hostname; sleep 60"
    client = workload.container("sh", "-c", ask, name="sidecar")
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(server, client))
        written = b""
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for piece in runtime.logs("web-1-a", "sidecar", LogQuery(follow=True)):
                written += piece
                if written.endswith(b"reached\nweb-1-a\n"):
                    break  # the server answers on localhost, and the host name is the instance's
        assert set((await only(runtime)).images) == {"web", "sidecar"}

        await runtime.stop("web-1-a", 0)
        assert await runtime.instances() == []


async def test_the_end_of_one_container_ends_the_instance(
    settings: PodmanSettings, workload: Workload
) -> None:
    short = workload.container("sh", "-c", "exit 7", name="short")
    spec = workload.spec(workload.container(*SERVE, "/bin"), short)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(spec)
        assert (await until_ended(runtime)).message == "container short exited 7"


async def test_stop_is_polite_first(settings: PodmanSettings, workload: Workload) -> None:
    polite = "trap 'echo bye > /out/bye; exit 0' TERM; touch /out/up; while :; do sleep 0.05; done"
    container = replace(
        workload.container("sh", "-c", polite), mounts=(InstanceMount("out", "/out"),)
    )
    out = settings.data_dir / "out"
    out.mkdir(parents=True)
    spec = replace(workload.spec(container), volumes={"out": HostPath(str(out))})
    allowed = replace(settings, allowed_host_paths=(str(out),))
    async with PodmanRuntime.open(allowed) as runtime:
        await runtime.start(spec)
        await eventually(lambda: asyncio.to_thread((out / "up").exists), bool)
        await runtime.stop(spec.name, 10)
    assert (out / "bye").read_text() == "bye\n"


async def test_memory_over_the_limit_is_said(settings: PodmanSettings, workload: Workload) -> None:
    greedy = replace(
        workload.container("sh", "-c", "x=a; while :; do x=$x$x; done"),
        memory_bytes=16 * 1024 * 1024,
        cpus=1,
    )
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(greedy))
        assert "more memory than its limit" in (await until_ended(runtime)).message


async def test_teardown_leaves_nothing(
    settings: PodmanSettings, workload: Workload, podman_home: PodmanHome
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        for name in ("web-1-a", "web-1-b"):
            await runtime.start(workload.spec(workload.container("sleep", "60"), name=name))
        await runtime.teardown()
        assert await runtime.instances() == []
    assert settings.network_name not in podman_home.run("network", "ls")
    assert settings.instance_id not in podman_home.run("ps", "--all")
    assert not settings.temporary_root.exists()
