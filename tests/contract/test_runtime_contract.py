"""Contract of runtimes: what is started once runs once, is found again, and goes without a rest."""

import asyncio
import json
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.promotion.verification_in_memory import FileRuntime
from tests.support.rollouts.memory_machine import FakeRuntime, MemoryClock
from tests.support.server.api_server import StubRuntime
from tests.support.workload.podman_home import OWNER, PodmanHome, podman_home_in
from tests.support.workload.waiting import eventually

from upwell.oci import Digest, Reference
from upwell.workload.errors import (
    ForbiddenError,
    ImagePullError,
    NoPreviousLogError,
    RuntimeUnavailableError,
    UnreachableError,
    UnreadableFilesError,
    WorkloadError,
)
from upwell.workload.instance_spec import (
    ContainerSpec,
    ExecProbe,
    HostPath,
    InstanceSpec,
    Owner,
    ProbeSpec,
)
from upwell.workload.interface import (
    ContainerFile,
    ExecSession,
    FileLimits,
    Instance,
    InstanceCommand,
    InteractiveRuntime,
    Leftover,
    LeftoverKind,
    LogQuery,
    Output,
    ReadableRuntime,
    ServiceName,
    State,
)
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

NAME = "web-1-a"
LIMITS = FileLimits(content_bytes=1000, entries=2)
SERVE = "echo one; echo two; mkdir /out; echo a > /out/a.xml; exec sleep 600"
_SECONDS = 60


@dataclass
class RuntimeUnderTest:
    """A runtime, and containers for it that it can run."""

    runtime: ReadableRuntime
    image: Reference
    turn: Callable[[], None]
    """Let what was started go on, where that does not happen by itself."""
    missing: Callable[[Reference], None]
    """Let an image be one that nobody has."""
    abandon: Callable[[], None]
    """Take the container of the one instance away, and leave all else of it."""
    lose: Callable[[], None]
    """Let the machine lose the one instance, so that nobody knows how it ended."""

    def spec(self, script: str = SERVE, **fields: object) -> InstanceSpec:
        web = ContainerSpec("web", self.image, ("/bin/sh", "-c"), (script,))
        spec = InstanceSpec(NAME, OWNER, "rev1", (web,), labels={"app": "web"})
        return replace(spec, **fields)  # type: ignore[arg-type]  # each field as it is named

    async def one(self, holds: Callable[[Instance], bool]) -> Instance:
        """Wait until there is one instance, of which this holds."""

        async def observe() -> list[Instance]:
            self.turn()
            return list(await self.runtime.instances())

        [found] = await eventually(observe, lambda seen: len(seen) == 1 and holds(seen[0]))
        return found

    async def serving(self) -> Instance:
        await self.runtime.start(self.spec())
        return await self.one(lambda one: one.ready)

    async def ended(self, code: int) -> Instance:
        await self.runtime.start(self.spec(f"echo bye; exit {code}", once=True, role=f"r{code}"))
        return await self.one(lambda one: one.state is State.EXITED)


@pytest.fixture(scope="module")
def podman_home() -> Iterator[PodmanHome]:
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-contract-"))) as home:
        yield home


def in_memory(runtime: FakeRuntime) -> RuntimeUnderTest:
    image = Reference.parse("registry.test/web").with_digest(Digest.of(b"good"))
    for code in (0, 3):
        runtime.exits[f"r{code}"] = [code]
    runtime.lasting.add("lasting")
    runtime.log_texts = {(NAME, name): b"one\ntwo\n" for name in ("", "web")}
    runtime.files = {
        "/out": [ContainerFile("out/a.xml", b"a\n")],
        "/out/a.xml": [ContainerFile("a.xml", b"a\n")],
    }

    def missing(wanted: Reference) -> None:
        pulled = f"{wanted}"
        if pulled in runtime.slow:
            runtime.slow.discard(pulled)
            runtime.failures[pulled] = ImagePullError(f"cannot pull {pulled}")
        else:
            runtime.slow.add(pulled)

    def abandon() -> None:
        spec, instance = runtime.running.pop(NAME)
        left = Leftover(LeftoverKind.FOLDER, NAME, instance.started_at, spec.owner)
        runtime.left.append(left)

    def lose() -> None:
        runtime.lose(NAME)

    return RuntimeUnderTest(runtime, image, runtime.turn, missing, abandon, lose)


@pytest.fixture
async def podman(podman_home: PodmanHome) -> AsyncIterator[RuntimeUnderTest]:
    name = uuid.uuid4().hex[:8]
    settings = PodmanSettings(
        data_dir=podman_home.root / name,
        instance_id=name,
        storage_root=podman_home.root / "storage",
        run_root=podman_home.root / "run",
        containers_conf=podman_home.conf,
    )

    def abandon() -> None:
        podman_home.run("rm", "--force", "--time=0", f"upwell-{name}.{NAME}.web")

    def lose() -> None:
        [found] = json.loads(podman_home.run("inspect", f"upwell-{name}.{NAME}.web"))
        for number in (found["State"]["ConmonPid"], found["State"]["Pid"]):
            os.kill(number, signal.SIGKILL)

    image = podman_home.image
    async with PodmanRuntime.open(settings) as runtime:
        yield RuntimeUnderTest(runtime, image, lambda: None, lambda _: None, abandon, lose)
        await runtime.teardown()


def interactive_in_memory() -> StubRuntime:
    runtime = StubRuntime(GoingClock())
    runtime.executed = lambda name, command: (3, f"{name}: {command[-1]}\n".encode())
    return runtime


class GoingClock(MemoryClock):
    """Goes on by a second whenever it is read: what is started anew is so at another time."""

    def __call__(self) -> datetime:
        self.advance(1)
        return super().__call__()


MEMORY: dict[str, Callable[[], FakeRuntime]] = {
    "memory": lambda: FakeRuntime(GoingClock()),
    "memory for tests of stages": lambda: FileRuntime(GoingClock()),
    "memory for the API": interactive_in_memory,
}


@pytest.fixture(params=["podman", *MEMORY])
def machine(request: pytest.FixtureRequest) -> RuntimeUnderTest:
    if request.param == "podman":
        found: RuntimeUnderTest = request.getfixturevalue("podman")
        return found
    return in_memory(MEMORY[request.param]())


async def test_what_is_left_of_an_instance_is_found_and_removed(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    assert await machine.runtime.leftovers() == []

    machine.abandon()
    assert await machine.runtime.instances() == []
    [left] = await machine.runtime.leftovers()
    assert (left.kind, left.name, left.owner) == (LeftoverKind.FOLDER, NAME, OWNER)

    await machine.serving()
    await machine.runtime.remove_leftover(left)
    assert (await machine.one(lambda one: one.ready)).name == NAME

    machine.abandon()
    await machine.runtime.remove_leftover(left)
    await machine.runtime.remove_leftover(left)
    assert await machine.runtime.leftovers() == []


async def test_an_image_of_the_machines_own_is_known_by_its_digest(
    machine: RuntimeUnderTest,
) -> None:
    own = Reference.parse("localhost/web:latest")
    if isinstance(machine.runtime, FakeRuntime):
        assert machine.image.digest is not None
        machine.runtime.local_images[str(own)] = machine.image.digest
    assert await machine.runtime.local_image(own) == machine.image.digest
    for other in ("localhost/nothing:1", "registry.test/web:latest"):
        assert await machine.runtime.local_image(Reference.parse(other)) is None


async def test_an_instance_is_what_it_was_started_as(machine: RuntimeUnderTest) -> None:
    assert await machine.runtime.instances() == []
    found = await machine.serving()

    assert (found.name, found.owner, found.revision) == (NAME, OWNER, "rev1")
    assert (found.state, found.ready, found.foreign) == (State.RUNNING, True, False)
    assert (found.restarts, found.role, dict(found.labels)) == (0, "", {"app": "web"})
    assert dict(found.images) == {"web": machine.image.digest}
    assert found.address
    assert found.ready_since is not None
    assert found.begun_at is not None
    assert found.begun_at <= found.started_at <= found.ready_since
    [container] = found.containers
    assert (container.name, container.running, container.digest) == (
        "web",
        True,
        machine.image.digest,
    )
    assert not found.succeeded
    assert not found.probed


async def test_a_probe_is_told_of(machine: RuntimeUnderTest) -> None:
    probe = ProbeSpec(ExecProbe(("true",)), period=1)
    spec = machine.spec()
    web = spec.containers[0]
    await machine.runtime.start(replace(spec, containers=(replace(web, readiness=probe),)))

    assert (await machine.one(lambda one: one.ready)).probed


async def test_what_runs_is_not_started_again(machine: RuntimeUnderTest) -> None:
    before = await machine.serving()
    await machine.runtime.start(machine.spec())
    await asyncio.gather(*(machine.runtime.start(machine.spec()) for _ in range(3)))
    assert await machine.one(lambda one: one.ready) == before


async def test_what_is_stopped_is_gone_and_can_be_stopped_again(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    for _ in range(2):
        await machine.runtime.stop(NAME, 0)
        assert await machine.runtime.instances() == []
    await machine.runtime.stop("never-was", 0)


@pytest.mark.parametrize("code", [0, 3])
async def test_what_runs_once_ends_with_its_exit_code(machine: RuntimeUnderTest, code: int) -> None:
    found = await machine.ended(code)

    assert (dict(found.exit_codes), found.succeeded) == ({"web": code}, code == 0)
    assert (found.ready, found.role) == (False, f"r{code}")
    assert code == 0 or str(code) in found.message
    [container] = found.containers
    assert (container.running, container.exit_code) == (False, code)
    assert container.ended_at is not None


async def test_what_has_ended_is_started_anew(machine: RuntimeUnderTest) -> None:
    before = await machine.ended(3)
    await machine.runtime.start(machine.spec())
    after = await machine.one(lambda one: one.ready)

    assert (after.state, after.restarts, dict(after.exit_codes)) == (State.RUNNING, 1, {})
    assert after.begun_at == before.begun_at
    assert after.started_at >= before.started_at


async def test_what_is_started_anew_is_there_all_the_while(machine: RuntimeUnderTest) -> None:
    await machine.ended(3)
    start = asyncio.create_task(machine.runtime.start(machine.spec()))
    while not start.done():
        assert len(await machine.runtime.instances()) == 1
        await asyncio.sleep(0)
    await start


@pytest.mark.parametrize("once", [True, False])
async def test_what_the_machine_lost_has_no_exit_and_is_started_anew_uncounted(
    machine: RuntimeUnderTest, *, once: bool
) -> None:
    spec = machine.spec(once=once, role="lasting")
    await machine.runtime.start(spec)
    for losses in (1, 2):
        await machine.one(lambda one: one.state is State.RUNNING)
        await asyncio.to_thread(machine.lose)
        lost = await machine.one(lambda one: one.state is State.LOST)
        assert (lost.ready, lost.succeeded, dict(lost.exit_codes)) == (False, False, {})
        assert (lost.losses, lost.restarts) == (losses, 0)
        [container] = lost.containers
        assert (container.lost, container.running, container.exit_code) == (True, False, None)
        assert "unknown" in lost.message
        await machine.runtime.start(spec)
    again = await machine.one(lambda one: one.state is not State.LOST)
    assert (again.restarts, again.losses, again.begun_at) == (0, 2, lost.begun_at)
    assert again.started_at >= lost.started_at


async def test_it_says_since_when_it_has_answered(machine: RuntimeUnderTest) -> None:
    since = machine.runtime.well_since()
    found = await machine.serving()
    assert machine.runtime.well_since() == since <= found.started_at


async def test_an_image_that_cannot_be_pulled_holds_nobody_up(machine: RuntimeUnderTest) -> None:
    nowhere = replace(machine.image, registry="127.0.0.1:1", repository="team/none")
    web = replace(machine.spec().containers[0], image=nowhere)
    spec = machine.spec(containers=(web,))
    machine.missing(nowhere)
    await machine.runtime.start(spec)
    machine.missing(nowhere)

    async def refused() -> WorkloadError | None:
        try:
            await machine.runtime.start(spec)
        except ImagePullError as error:
            return error
        return None

    error = await eventually(refused, lambda seen: seen is not None)
    assert error is not None
    assert (error.reason, error.retryable) == ("ImagePullFailed", True)
    assert "127.0.0.1:1/team/none" in str(error)
    await machine.runtime.stop(NAME, 0)
    assert await machine.runtime.instances() == []


async def test_images_are_there_before_anything_starts(machine: RuntimeUnderTest) -> None:
    nowhere = replace(machine.image, registry="127.0.0.1:1", repository="team/never")
    web = replace(machine.spec().containers[0], image=nowhere)
    spec = machine.spec(containers=(web,))
    machine.missing(nowhere)
    assert await machine.runtime.provide(machine.spec()) == ""
    assert "127.0.0.1:1/team/never" in await machine.runtime.provide(spec)
    assert await machine.runtime.instances() == []
    machine.missing(nowhere)

    async def refused() -> bool:
        try:
            return not await machine.runtime.provide(spec)
        except ImagePullError:
            return True

    await eventually(refused, bool)
    assert await machine.runtime.instances() == []


async def test_volumes_can_be_released_whether_there_are_any_or_not(
    machine: RuntimeUnderTest,
) -> None:
    await machine.runtime.start(machine.spec(volume_index=0))
    found = await machine.one(lambda one: one.ready)
    assert found.volumes == ()
    await machine.runtime.stop(NAME, 0)
    for _ in range(2):
        await machine.runtime.release_volumes(OWNER)


async def test_a_path_of_the_host_is_forbidden(machine: RuntimeUnderTest) -> None:
    with pytest.raises(ForbiddenError, match="/etc") as caught:
        await machine.runtime.start(machine.spec(volumes={"etc": HostPath("/etc")}))
    assert (caught.value.reason, caught.value.retryable) == ("Forbidden", False)
    assert await machine.runtime.instances() == []


async def test_a_command_is_executed_where_something_runs(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    code, output = await machine.runtime.execute(NAME, ("/bin/sh", "-c", "true"))
    assert isinstance(output, bytes)
    assert (await machine.runtime.execute(NAME, ("/bin/sh", "-c", "true"), "web"))[0] == code
    for name, container in ((NAME, "none"), ("never-was", "")):
        with pytest.raises(RuntimeUnavailableError, match=f"{name} has no container") as caught:
            await machine.runtime.execute(name, ("true",), container)
        assert (caught.value.reason, caught.value.retryable) == ("RuntimeUnavailable", True)


async def test_no_command_is_executed_in_what_has_ended(machine: RuntimeUnderTest) -> None:
    await machine.ended(0)
    with pytest.raises(RuntimeUnavailableError):
        await machine.runtime.execute(NAME, ("/bin/true",))


async def log(machine: RuntimeUnderTest, wanted: LogQuery, container: str = "") -> bytes:
    pieces = machine.runtime.logs(NAME, container, wanted)
    return b"".join([piece async for piece in pieces])


async def test_a_log_is_read_whole_or_its_last_lines(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    await eventually(lambda: log(machine, LogQuery()), lambda text: text == b"one\ntwo\n")
    assert await log(machine, LogQuery(), "web") == b"one\ntwo\n"
    assert await log(machine, LogQuery(tail=1)) == b"two\n"
    with pytest.raises(RuntimeUnavailableError, match=f"{NAME} has no container none"):
        await log(machine, LogQuery(), "none")
    with pytest.raises(NoPreviousLogError) as caught:
        await log(machine, LogQuery(previous=True))
    assert caught.value.reason == "NoPreviousLog"


async def test_a_followed_log_ends_with_its_container(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    await eventually(lambda: log(machine, LogQuery()), lambda text: text == b"one\ntwo\n")
    following = asyncio.create_task(log(machine, LogQuery(follow=True)))
    await asyncio.sleep(0.1)
    assert not following.done()
    await machine.runtime.stop(NAME, 0)
    async with asyncio.timeout(_SECONDS):
        assert await following == b"one\ntwo\n"


async def test_the_log_before_a_restart_is_kept(machine: RuntimeUnderTest) -> None:
    await machine.ended(3)
    await machine.runtime.start(machine.spec())
    await machine.one(lambda one: one.ready)
    assert await log(machine, LogQuery(previous=True))


async def test_every_change_is_told_to_every_listener(machine: RuntimeUnderTest) -> None:
    told: tuple[list[Owner], list[Owner]] = ([], [])

    async def listen(heard: list[Owner]) -> None:
        async for owner in machine.runtime.changes():
            heard.append(owner)  # noqa: PERF401 - it is read while it grows

    async def fewest() -> int:
        return min(map(len, told))

    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(listen(heard)) for heard in told]
        await asyncio.sleep(0)
        await machine.runtime.start(machine.spec())
        await eventually(fewest, lambda count: count > 0)
        await machine.one(lambda one: one.ready)
        most = max(map(len, told))
        await machine.runtime.stop(NAME, 0)
        await eventually(fewest, lambda count: count > most)
        for listener in listeners:
            listener.cancel()
    assert {*told[0], *told[1]} == {OWNER}


async def test_names_can_be_published_again_and_taken_back(machine: RuntimeUnderTest) -> None:
    await machine.serving()
    names = [ServiceName("shop", "db", "127.0.0.9")]
    for wanted in (names, names, []):
        await machine.runtime.publish_names(wanted)


async def test_files_are_read_within_limits(machine: RuntimeUnderTest) -> None:
    await machine.serving()

    async def files() -> list[tuple[str, bytes]]:
        try:
            found = await machine.runtime.read_files(NAME, "/out", LIMITS)
        except UnreadableFilesError:
            return []
        return [(one.path, one.content) for one in found]

    await eventually(files, lambda seen: seen == [("out/a.xml", b"a\n")])
    [file] = await machine.runtime.read_files(NAME, "/out/a.xml", LIMITS, "web")
    assert (file.path, file.content) == ("a.xml", b"a\n")
    for path, limits in (
        ("/nothing", LIMITS),
        ("/out/a.xml", FileLimits(content_bytes=1)),
        ("/out", FileLimits(content_bytes=1000, entries=0)),
    ):
        with pytest.raises(UnreadableFilesError) as caught:
            await machine.runtime.read_files(NAME, path, limits)
        assert (caught.value.reason, caught.value.retryable) == ("UnreadableFiles", False)
    with pytest.raises(RuntimeUnavailableError, match="never-was has no container"):
        await machine.runtime.read_files("never-was", "/out", LIMITS)


# instances that people enter


@pytest.fixture(params=["podman", "memory for the API"])
def interactive(request: pytest.FixtureRequest) -> RuntimeUnderTest:
    if request.param == "podman":
        found: RuntimeUnderTest = request.getfixturevalue("podman")
        return found
    return in_memory(interactive_in_memory())


@pytest.fixture
async def entered(interactive: RuntimeUnderTest) -> InteractiveRuntime:
    await interactive.serving()
    assert isinstance(interactive.runtime, PodmanRuntime | StubRuntime)
    return interactive.runtime


ECHO = InstanceCommand(("/bin/sh", "-c", "echo said >&2; cat; exit 3"), stdin=True)


async def outcome(session: ExecSession) -> tuple[int, dict[Output, bytes]]:
    written = {Output.STDOUT: b"", Output.STDERR: b""}
    async for output, piece in session.output():
        written[output] += piece
    return await session.exit_code(), written


async def test_a_command_is_fed_and_its_outputs_are_told_apart(
    entered: InteractiveRuntime,
) -> None:
    async with asyncio.timeout(_SECONDS), entered.run(NAME, ECHO) as session:
        await session.write(b"fed")
        await session.close_input()
        code, written = await outcome(session)
    assert code == 3
    assert written[Output.STDOUT] == b"fed"
    assert b"said" in written[Output.STDERR]


async def test_a_terminal_can_be_resized(entered: InteractiveRuntime) -> None:
    terminal = replace(ECHO, tty=True, words=("/bin/sh", "-c", "exit 3"), stdin=False)
    async with asyncio.timeout(_SECONDS), entered.run(NAME, terminal) as session:
        await session.resize(100, 40)
        code, _ = await outcome(session)
    assert code == 3


async def test_leaving_the_block_ends_a_command(entered: InteractiveRuntime) -> None:
    async with asyncio.timeout(_SECONDS):
        with pytest.raises(KeyError, match="mine"):
            async with entered.run(NAME, ECHO):
                raise KeyError("mine")
        async with entered.run(NAME, replace(ECHO, container="web")) as session:
            await session.write(b"again")


@pytest.mark.parametrize(("name", "container"), [(NAME, "none"), ("never-was", "")])
async def test_a_command_needs_a_container(
    entered: InteractiveRuntime, name: str, container: str
) -> None:
    with pytest.raises(RuntimeUnavailableError, match=f"{name} has no container"):
        async with entered.run(name, replace(ECHO, container=container)):
            pass


async def test_whoever_is_attached_leaves_the_process_as_it_is(
    interactive: RuntimeUnderTest,
) -> None:
    before = await interactive.serving()
    runtime = interactive.runtime
    assert isinstance(runtime, PodmanRuntime | StubRuntime)
    async with asyncio.timeout(_SECONDS), runtime.attach(NAME, "web") as session:
        await session.close_input()
    after = await interactive.one(lambda one: one.ready)
    assert (after.restarts, after.started_at) == (before.restarts, before.started_at)
    for name, container in ((NAME, "none"), ("never-was", "")):
        with pytest.raises(RuntimeUnavailableError, match=f"{name} has no container"):
            async with runtime.attach(name, container):
                pass


@pytest.mark.parametrize("name", [NAME, "never-was"])
async def test_a_port_where_nothing_listens_is_unreachable(
    entered: InteractiveRuntime, name: str
) -> None:
    with pytest.raises(UnreachableError) as caught:
        await entered.connect(name, 81)
    assert (caught.value.reason, caught.value.retryable) == ("Unreachable", False)
