"""Init containers, containers that are meant to end, and what is done at a start and a stop."""

from dataclasses import replace

from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.workload.instance_spec import (
    ContainerSpec,
    EmptyDir,
    ExecProbe,
    InstanceMount,
    InstanceSpec,
    Pause,
    ProbeSpec,
    VolumeClaim,
)
from upwell.workload.interface import Instance, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

SHARED = InstanceMount("shared", "/shared")
GATE = "until [ -e /shared/go ]; do sleep 0.05; done"
OPEN = ("/bin/busybox", "touch", "/shared/go")


def shell(workload: Workload, script: str, name: str = "web") -> ContainerSpec:
    container = workload.container("sh", "-c", script, name=name)
    return replace(container, mounts=(SHARED,))


def in_shell(script: str) -> ExecProbe:
    return ExecProbe(("/bin/busybox", "sh", "-c", script))


def spec(workload: Workload, *containers: ContainerSpec, name: str = "web-1-a") -> InstanceSpec:
    return replace(workload.spec(*containers, name=name), volumes={"shared": EmptyDir()})


async def only(runtime: PodmanRuntime) -> Instance:
    [instance] = await runtime.instances()
    return instance


async def read(runtime: PodmanRuntime, path: str) -> str:
    _, output = await runtime.execute("web-1-a", ("/bin/busybox", "cat", path))
    return output.decode()


async def test_init_containers_run_one_after_the_other_before_the_rest(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        initial = (
            shell(workload, f"{GATE}; echo first >> /shared/log", "one"),
            shell(workload, "echo second >> /shared/log", "two"),
        )
        main = shell(workload, "echo main >> /shared/log; exec sleep 600")
        await runtime.start(replace(spec(workload, main), init=initial))
        begun = await only(runtime)
        assert begun.state is State.INITIALIZING
        assert "init container one" in begun.message

        await runtime.execute("web-1-a", OPEN, "one")
        ready = await eventually(lambda: only(runtime), lambda one: one.ready)
        assert ready.state is State.RUNNING
        assert list(ready.images) == ["web"]
        assert await read(runtime, "/shared/log") == "first\nsecond\nmain\n"


async def test_a_runtime_goes_on_where_another_was_killed_between_init_containers(
    settings: PodmanSettings, workload: Workload
) -> None:
    main = shell(workload, "exec sleep 600")
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(replace(spec(workload, main), init=(shell(workload, GATE, "gate"),)))
    async with PodmanRuntime.open(settings) as runtime:
        assert (await only(runtime)).state is State.INITIALIZING
        await runtime.execute("web-1-a", OPEN, "gate")
        await eventually(lambda: only(runtime), lambda one: one.ready)


async def test_an_init_container_that_fails_is_tried_again_from_the_start(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        broken = shell(workload, "echo no database; exit 4", "migrate")
        wanted = replace(spec(workload, shell(workload, "exec sleep 600")), init=(broken,))
        await runtime.start(wanted)
        ended = await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)
        assert ended.message == "container migrate exited 4: no database"

        await runtime.start(wanted)
        again = await eventually(
            lambda: only(runtime), lambda one: one.state is State.EXITED and one.restarts == 1
        )
        assert not again.succeeded


async def test_what_runs_once_has_ended_when_all_but_its_sidecars_have(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        sidecar = replace(shell(workload, "exec sleep 600", "proxy"), sidecar=True)
        containers = (
            sidecar,
            shell(workload, "exit 0", "quick"),
            shell(workload, "until [ -e /shared/go ]; do sleep 0.05; done", "slow"),
        )
        await runtime.start(replace(spec(workload, *containers), once=True, role="job"))
        half = await eventually(lambda: only(runtime), lambda one: one.exit_codes == {"quick": 0})
        assert (half.state, half.role) == (State.RUNNING, "job")

        await runtime.execute("web-1-a", ("/bin/busybox", "touch", "/shared/go"), "slow")
        ended = await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)
        assert ended.succeeded
        assert ended.exit_codes == {"quick": 0, "slow": 0}


async def test_it_is_not_ready_before_what_follows_its_start_is_done(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        main = replace(
            shell(workload, "exec sleep 600"),
            post_start=in_shell("until [ -e /shared/go ]; do sleep 0.05; done"),
        )
        await runtime.start(spec(workload, main))
        assert not (await only(runtime)).ready
        await runtime.execute("web-1-a", ("/bin/busybox", "touch", "/shared/go"))
        await eventually(lambda: only(runtime), lambda one: one.ready)


async def test_a_start_that_cannot_be_finished_ends_the_container(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        main = replace(
            shell(workload, "trap 'exit 0' TERM; sleep 600 & wait"),
            post_start=in_shell("echo no cache; exit 1"),
        )
        await runtime.start(spec(workload, main))
        ended = await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)
        assert "postStart failed: exit code 1: no cache" in ended.message


async def test_what_precedes_a_stop_is_done_before_the_signal(
    settings: PodmanSettings, workload: Workload
) -> None:
    kept = InstanceMount("kept", "/kept")
    async with PodmanRuntime.open(settings) as runtime:
        main = replace(
            workload.container(
                "sh", "-c", "trap 'echo term >> /kept/log; exit 0' TERM; sleep 9 & wait"
            ),
            mounts=(kept,),
            pre_stop=in_shell("echo drain >> /kept/log"),
        )
        volumes = {"kept": VolumeClaim("shop", "kept")}
        await runtime.start(replace(workload.spec(main), volumes=volumes))
        await runtime.stop("web-1-a", 10)
        log = settings.data_dir / "claims" / "shop" / "kept" / "log"
        assert log.read_text() == "drain\nterm\n"


async def test_a_pause_before_the_stop_is_cut_by_the_grace_time(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        main = replace(workload.container("sleep", "600"), pre_stop=Pause(600))
        await runtime.start(workload.spec(main))
        await runtime.stop("web-1-a", 1)
        assert await runtime.instances() == []


async def test_nothing_is_asked_before_the_startup_probe_has_succeeded(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        startup = ProbeSpec(in_shell("test -e /shared/up"), period=0.2, failure_threshold=200)
        main = replace(
            shell(workload, "trap 'exit 0' TERM; sleep 600 & wait"),
            startup=startup,
            liveness=ProbeSpec(in_shell("test -e /shared/up"), period=0.1, failure_threshold=1),
        )
        await runtime.start(spec(workload, main))
        waiting = await eventually(
            lambda: only(runtime), lambda one: "startup probe" in one.message
        )
        assert waiting.state is State.RUNNING
        await runtime.execute("web-1-a", ("/bin/busybox", "touch", "/shared/up"))
        await eventually(lambda: only(runtime), lambda one: one.ready)
        await runtime.execute("web-1-a", ("/bin/busybox", "rm", "/shared/up"))
        await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)


async def test_a_startup_probe_in_vain_ends_the_container(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        check = in_shell("echo nothing; exit 1")
        # On a busy machine a command may take longer than the second of the default.
        startup = ProbeSpec(check, period=0.1, timeout=DEADLINE_SECONDS, failure_threshold=3)
        main = replace(shell(workload, "trap 'exit 0' TERM; sleep 600 & wait"), startup=startup)
        await runtime.start(spec(workload, main))
        ended = await eventually(lambda: only(runtime), lambda one: one.state is State.EXITED)
        assert "startup probe failed: exit code 1: nothing" in ended.message
