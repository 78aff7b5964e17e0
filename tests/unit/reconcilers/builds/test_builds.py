"""Builds from New to their end, with a builder that stops where a test wants it to."""

import asyncio
import errno
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    BuildMachine,
    docker_build,
    image_stream,
    push,
    until,
)

from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION
from upwell.api.builds.inputs import BuildStrategy, DockerBuildStrategy
from upwell.api.codec import encode
from upwell.api.meta import ObjectReference
from upwell.builder.interface import (
    BUILDER_KILLED,
    DISK_PRESSURE,
    BuildError,
    BuildPlan,
    ReportedFullDiskError,
)
from upwell.oci import Digest
from upwell.policy.builds.identity import inputs_tag
from upwell.registry.interface import RequestAccess
from upwell.store.interface import NotFoundError, StoreError, UnavailableError

PUSH_FAILED = BuildError("PushImageToRegistryFailed", "the registry is away", retryable=True)


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


async def until_phase(machine: BuildMachine, name: str, phase: BuildPhase) -> Build:
    async def has_phase() -> bool:
        return (await machine.build(name)).status.phase is phase

    await until(has_phase)
    return await machine.build(name)


async def until_reason(machine: BuildMachine, name: str, reason: str) -> Build:
    async def has_reason() -> bool:
        return (await machine.build(name)).status.reason == reason

    await until(has_reason)
    return await machine.build(name)


async def until_running(machine: BuildMachine, count: int) -> None:
    async def are_running() -> bool:
        return len(machine.builder.running) == count

    await until(are_running)


async def write(machine: BuildMachine, name: str, **status: object) -> None:
    build = await machine.build(name)
    await machine.store.update_status(build.with_status(build.status.model_copy(update=status)))


async def test_a_build_ends_with_its_image_in_the_stream(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    released: list[bool] = []
    async with machine.building():
        async for event in machine.store.watch(Build):
            if event.resource.status.phase is BuildPhase.COMPLETE:
                released.append((await machine.stream("app")).status.tag("latest") is not None)
                break
    build = await machine.build("app-1")
    history = await machine.history("app", "latest")
    assert build.status.output is not None
    assert build.status.output.to is not None
    assert history.items[0].image == build.status.output.to.image_digest
    assert released == [True]  # who sees that the build is complete finds its result
    assert build.status.attempts == 1
    stages = {stage.name: stage.duration_milliseconds for stage in build.status.stages}
    assert [*stages] == ["FetchInputs", "MirrorImages", "Build"]
    assert stages["Build"] == 1500
    assert machine.builder.recovered


@pytest.mark.parametrize(("wish", "asks"), [("true", True), ("false", False), ("", False)])
async def test_the_machines_network_is_asked_for_by_annotation(
    machine: BuildMachine, wish: str, *, asks: bool
) -> None:
    build = docker_build()
    annotations = {**build.annotations, HOST_NETWORK_ANNOTATION: wish}
    await machine.store.create(build.with_metadata(annotations=annotations))
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert [plan.host_network for plan in machine.builder.plans] == [asks]


async def test_a_registry_that_gives_the_old_digest_for_a_while_after_the_own_push(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builds on the output take what was pushed: streams name digests."""
    await machine.store.create(docker_build(1))
    async with machine.building():
        first = await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    old = Digest.parse((await machine.history("app", "latest")).items[0].image)
    tag_digest, looks = machine.internal.tag_digest, 0

    async def answer(repository: str, tag: str, *access: RequestAccess) -> Digest | None:
        nonlocal looks
        looks += 1
        if tag == "latest" or looks <= 3:  # before the build, and after it
            return old if tag == "latest" else None
        return await tag_digest(repository, tag, *access)

    monkeypatch.setattr(machine.internal, "tag_digest", answer)
    await machine.store.create(docker_build(2, dockerfile="FROM scratch\nLABEL a=b\n"))
    async with machine.building():
        second = await until_phase(machine, "app-2", BuildPhase.COMPLETE)
    assert looks > 3
    assert second.status.attempts > first.status.attempts, "it was tried again, and then found"
    new = (await machine.history("app", "latest")).items[0].image
    assert new != str(old)

    image = ObjectReference(kind="ImageStreamTag", name="app:latest")
    strategy = BuildStrategy(type="Docker", docker_strategy=DockerBuildStrategy(from_=image))
    above = docker_build(1, config="above", dockerfile="FROM x\n", strategy=strategy)
    await machine.store.create(above)
    async with machine.building():
        built = await until_phase(machine, "above-1", BuildPhase.COMPLETE)
    assert [one.reference.partition("@")[2] for one in built.status.images] == [new]


async def test_what_ended_is_cleaned_up(machine: BuildMachine) -> None:
    build = await machine.store.create(docker_build())

    async def is_discarded() -> bool:
        return build.uid in machine.builder.discarded

    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)
        await until(is_discarded)
        # A follower ends, since the log is closed.
        async with asyncio.timeout(30):
            log = b"".join([piece async for piece in machine.logs.read(build.uid, follow=True)])
    assert log == b"building app-1\n"


async def test_the_builder_is_closed_once_nothing_runs_any_more(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        assert machine.builder.running_at_close is None
    assert machine.builder.running_at_close == frozenset()


async def test_serial_builds_run_one_after_the_other_in_order(machine: BuildMachine) -> None:
    for number in (2, 1, 3):
        await machine.store.create(docker_build(number, forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=3):
        await until_running(machine, 1)
        waiting = await until_reason(machine, "app-2", "RunPolicy")
        assert "app-1" in (waiting.status.message or "")
        machine.builder.gate.set()
        await until_phase(machine, "app-3", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans] == ["app-1", "app-2", "app-3"]
    assert machine.builder.most_running == 1


async def test_parallel_builds_share_the_slots(machine: BuildMachine) -> None:
    for number in (1, 2, 3):
        await machine.store.create(docker_build(number, policy="Parallel", forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=2):
        await until_running(machine, 2)
        waiting = await until_reason(machine, "app-3", "NoFreeSlot")
        assert "2 of 2" in (waiting.status.message or "")
        machine.builder.gate.set()
        await until_phase(machine, "app-3", BuildPhase.COMPLETE)
    assert machine.builder.most_running == 2


async def test_a_namespace_with_many_builds_does_not_delay_another(machine: BuildMachine) -> None:
    await machine.store.create(image_stream("app").with_metadata(namespace="other"))
    for number in range(1, 6):
        await machine.store.create(docker_build(number, policy="Parallel", forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=1):
        await until_running(machine, 1)
        machine.clock.advance(60)
        other = docker_build(1, config="web", forced=True).with_metadata(namespace="other")
        await machine.store.create(other)

        async def waits() -> bool:
            build = await machine.store.get(Build, "other", "web-1")
            return build.status.reason == "NoFreeSlot"

        await until(waits)
        machine.builder.gate.set()
        for number in range(1, 6):
            await until_phase(machine, f"app-{number}", BuildPhase.COMPLETE)
    names = [plan.name for plan in machine.builder.plans]
    assert names[1] == "web-1"
    assert [name for name in names if name != "web-1"] == [f"app-{n}" for n in range(1, 6)]


async def test_a_namespace_has_no_more_slots_than_it_may(machine: BuildMachine) -> None:
    machine.slots_of_namespace = 1
    await machine.store.create(image_stream("app").with_metadata(namespace="other"))
    for number in (1, 2):
        await machine.store.create(docker_build(number, policy="Parallel", forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=3):
        await until_running(machine, 1)
        waiting = await until_reason(machine, "app-2", "NoFreeSlot")
        assert "all 1 that it may have" in (waiting.status.message or "")
        other = docker_build(1, config="web", forced=True).with_metadata(namespace="other")
        await machine.store.create(other)
        await until_running(machine, 2)
        machine.builder.gate.set()
        await until_phase(machine, "app-2", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans] == ["app-1", "web-1", "app-2"]


async def test_builds_wait_while_the_disk_is_full_and_go_on_by_themselves(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.reconcilers.builds.slots._PRESSURE_PAUSE", 0.05)
    await machine.store.create(docker_build(1, config="first"))
    machine.builder.gate.clear()
    async with machine.building(slots=1):
        await until_running(machine, 1)
        for config in ("second", "third"):
            await machine.store.create(docker_build(1, config=config))
            await until_reason(machine, f"{config}-1", "NoFreeSlot")
        machine.pressure = "/data has 3 MiB free of 100 MiB"
        machine.builder.gate.set()
        await until_phase(machine, "first-1", BuildPhase.COMPLETE)
        for config in ("second", "third"):
            waiting = await until_reason(machine, f"{config}-1", "DiskPressure")
            assert waiting.status.phase is BuildPhase.NEW
            assert "3 MiB free" in (waiting.status.message or "")
        assert len(machine.builder.plans) == 1
        machine.pressure = ""
        for config in ("second", "third"):
            await until_phase(machine, f"{config}-1", BuildPhase.COMPLETE)


async def test_only_the_latest_of_many_waits_for_the_running_one(machine: BuildMachine) -> None:
    await machine.store.create(docker_build(1, policy="SerialLatestOnly", forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=3):
        await until_running(machine, 1)
        for number in (2, 3):
            await machine.store.create(docker_build(number, policy="SerialLatestOnly", forced=True))
        passed_over = await until_phase(machine, "app-2", BuildPhase.CANCELLED)
        assert "app-3" in (passed_over.status.message or "")
        machine.builder.gate.set()
        await until_phase(machine, "app-3", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans] == ["app-1", "app-3"]
    assert machine.builder.most_running == 1


async def test_a_launched_build_counts_before_its_first_write(machine: BuildMachine) -> None:
    first = await machine.store.create(docker_build(1, policy="SerialLatestOnly", forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=2) as builds:
        await until_running(machine, 1)
        # As another worker sees it that has listed the builds a moment too early.
        await machine.store.create(docker_build(2, policy="SerialLatestOnly", forced=True))
        before = first.with_status(first.status)
        assert builds._as_launched(before).status.phase is BuildPhase.PENDING
        await until_reason(machine, "app-2", "RunPolicy")
    assert machine.builder.most_running == 1


async def test_a_fault_that_may_pass_is_tried_again_until_it_has(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = PUSH_FAILED
    waits = []
    for attempt in range(1, 10):
        async with machine.building():
            build = await until_reason(machine, "app-1", PUSH_FAILED.reason)
        assert build.status.phase is BuildPhase.NEW
        assert build.status.attempts == attempt
        assert build.status.retry_time is not None
        waits.append((build.status.retry_time - machine.clock()).total_seconds())
        at = f"{build.status.retry_time:%Y-%m-%dT%H:%M:%SZ}"
        message = build.status.message or ""
        assert message.endswith(f"This may pass: attempt {attempt + 1} begins at {at}.")
        await write(machine, "app-1", reason=None)
        machine.clock.advance(waits[-1])
    machine.builder.failure = None
    async with machine.building():
        build = await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert build.status.attempts == 10 == len(machine.builder.plans)
    assert (build.status.reason, build.status.message, build.status.retry_time) == (None,) * 3
    log = machine.logs.tail(build.uid, 100).splitlines()
    assert [line.partition(":")[0] for line in log if line.startswith("Attempt")] == [
        line
        for number in range(1, 10)
        for line in (f"Attempt {number} has failed", f"Attempt {number + 1} begins")
    ]


async def test_a_builder_that_is_killed_time_and_again_is_the_builds_own_doing(
    machine: BuildMachine,
) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = BuildError(BUILDER_KILLED, "signal 9", retryable=True)
    await write(machine, "app-1", attempts=3)
    async with machine.building():
        await until_reason(machine, "app-1", BUILDER_KILLED)
    machine.clock.advance(600)
    async with machine.building():
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert failed.status.attempts == 5


@pytest.mark.parametrize("short", [True, False])
async def test_a_disk_that_only_a_command_calls_full_is_not_waited_for(
    machine: BuildMachine, *, short: bool
) -> None:
    await machine.store.create(docker_build())
    full = "The disk of this machine is full: tee: out: No space left on device"
    machine.builder.failure = ReportedFullDiskError(DISK_PRESSURE, full, retryable=True)
    machine.was_short = short
    await write(machine, "app-1", attempts=2)
    async with machine.building():
        if short:
            waits = await until_reason(machine, "app-1", DISK_PRESSURE)
            assert waits.status.phase is BuildPhase.NEW
            return
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert (failed.status.attempts, failed.status.reason) == (3, "GenericBuildFailed")
    assert "said in each of 3 attempts that the disk is full" in (failed.status.message or "")
    assert "tee: out: No space left on device" in (failed.status.message or "")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DISK_PRESSURE),
        (OSError(errno.EMFILE, "Too many open files"), "GenericBuildFailed"),
    ],
)
async def test_a_fault_of_the_machine_is_waited_out(
    machine: BuildMachine, fault: OSError, reason: str
) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = fault
    async with machine.building():
        build = await until_reason(machine, "app-1", reason)
    assert build.status.phase is BuildPhase.NEW
    machine.builder.failure = None
    machine.clock.advance(10)
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_a_retry_comes_by_itself(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.reconcilers.builds.builds.FIRST_RETRY_SECONDS", 0.05)
    await machine.store.create(docker_build())
    machine.builder.failure = PUSH_FAILED
    async with machine.building():
        await until_reason(machine, "app-1", PUSH_FAILED.reason)
        machine.builder.failure = None
        machine.clock.advance(-86400)  # whoever sets the clock meanwhile delays nothing
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_a_retry_after_a_restart_is_not_delayed_by_a_clock_that_was_set_back(
    machine: BuildMachine,
) -> None:
    await machine.store.create(docker_build())
    await write(machine, "app-1", retry_time=machine.clock() + timedelta(days=1), attempts=1)
    async with machine.building() as builds:
        result = await builds.reconcile((await machine.build("app-1")).key)
    assert result.requeue_after == 600


async def test_a_person_ends_the_wait_for_a_retry(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = PUSH_FAILED
    async with machine.building():
        await until_reason(machine, "app-1", PUSH_FAILED.reason)
        await write(machine, "app-1", cancelled=True)
        await until_phase(machine, "app-1", BuildPhase.CANCELLED)
    assert len(machine.builder.plans) == 1


async def test_a_retry_is_not_made_before_its_time(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    await write(machine, "app-1", retry_time=machine.clock() + timedelta(seconds=40), attempts=1)
    async with machine.building() as builds:
        result = await builds.reconcile((await machine.build("app-1")).key)
    assert result.requeue_after == 40
    assert machine.builder.plans == []


async def test_a_fault_for_good_fails_the_build_with_the_end_of_its_log(
    machine: BuildMachine,
) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = BuildError("DockerBuildFailed", "RUN exit 1")
    async with machine.building():
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert failed.status.reason == "DockerBuildFailed"
    assert failed.status.message == "Dockerfile build strategy has failed. RUN exit 1"
    assert failed.status.log_snippet == "building app-1"
    assert failed.status.completion_timestamp == machine.clock()


async def test_a_fault_of_ours_fails_the_build_and_nothing_else(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = RuntimeError("oops")
    async with machine.building():
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
        assert failed.status.reason == "GenericBuildFailed"
        machine.builder.failure = None
        await machine.store.create(docker_build(2))
        await until_phase(machine, "app-2", BuildPhase.COMPLETE)


async def test_a_running_build_is_cancelled_whole(machine: BuildMachine) -> None:
    build = await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        await write(machine, "app-1", cancelled=True)
        ended = await until_phase(machine, "app-1", BuildPhase.CANCELLED)
    assert machine.builder.cancelled == {build.uid}
    assert ended.status.reason == "CancelledBuild"


async def test_a_build_that_is_cancelled_in_the_queue_never_runs(machine: BuildMachine) -> None:
    for number in (1, 2):
        await machine.store.create(docker_build(number, forced=True))
    machine.builder.gate.clear()
    async with machine.building():
        await until_reason(machine, "app-2", "RunPolicy")
        await write(machine, "app-2", cancelled=True)
        await until_phase(machine, "app-2", BuildPhase.CANCELLED)
        machine.builder.gate.set()
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans] == ["app-1"]


async def test_a_build_that_is_stopped_before_its_first_step_gives_its_slot_back(
    machine: BuildMachine,
) -> None:
    async with machine.building(slots=1) as builds:
        build = await machine.store.create(docker_build())
        builds._launch(build)
        await builds._stop(build.key)
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_a_deleted_build_leaves_nothing(machine: BuildMachine) -> None:
    build = await machine.store.create(docker_build())
    await machine.store.create(docker_build(2, forced=True))
    machine.builder.gate.clear()
    async with machine.building(slots=1):
        await until_running(machine, 1)
        await machine.store.delete(Build, NAMESPACE, "app-1")

        async def is_gone() -> bool:
            return build.uid in machine.builder.discarded

        await until(is_gone)
        machine.builder.gate.set()
        await until_phase(machine, "app-2", BuildPhase.COMPLETE)
    assert machine.builder.cancelled == {build.uid}
    assert [piece async for piece in machine.logs.read(build.uid)] == []


async def test_the_run_of_a_deleted_build_is_not_taken_for_that_of_its_namesake(
    machine: BuildMachine,
) -> None:
    old = await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        await machine.store.delete(Build, NAMESPACE, "app-1")
        new = await machine.store.create(docker_build())

        async def old_is_cancelled() -> bool:
            return machine.builder.cancelled == {old.uid}

        await until(old_is_cancelled)
        machine.builder.gate.set()
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert [plan.id for plan in machine.builder.plans] == [old.uid, new.uid]


async def test_a_store_that_takes_no_writes_stops_no_other_build(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.failure = BuildError("DockerBuildFailed", "RUN exit 1")
    machine.builder.gate.clear()
    async with machine.building() as builds:
        await until_running(machine, 1)
        machine.store.failure = UnavailableError("disk full")
        machine.builder.gate.set()
        await until_running(machine, 0)

        async def looks_again_later() -> bool:
            return len(builds.queue) == 1

        await until(looks_again_later)
        machine.store.failure = None
        machine.builder.failure = None
        await machine.store.create(docker_build(1, config="other"))
        await until_phase(machine, "other-1", BuildPhase.COMPLETE)
        assert len(machine.builder.plans) <= 3  # and it did not spin meanwhile


async def test_a_right_to_the_status_that_is_missing_is_told_until_it_is_there(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("upwell.reconcilers.builds.interruptions._STORE_PAUSE", 0.01)
    why = 'cannot update resource "builds/status" in API group "build.openshift.io"'
    machine.store.failure = StoreError(why)
    build = await machine.store.create(docker_build())

    async def is_told() -> bool:
        return [(one.key, one.why) for one in machine.cache.failing.all()] == [(build.key, why)]

    async with machine.building():
        await until(is_told)
        machine.store.failure = None
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)

        async def is_told_no_more() -> bool:
            return not machine.cache.failing.all()

        await until(is_told_no_more)
    assert not [one for one in caplog.records if one.exc_info]


async def test_what_the_store_cut_off_is_no_failed_try(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.reconcilers.builds.interruptions._STORE_PAUSE", 0.01)
    await machine.store.create(docker_build())
    cut_off = 0

    def fill_disk() -> None:
        nonlocal cut_off
        cut_off += 1
        machine.store.refusals = 0
        machine.store.failure = UnavailableError("disk full") if cut_off < 4 else None

    machine.builder.after_push = fill_disk
    async with machine.building():
        for number in range(1, 4):

            async def has_refused(number: int = number) -> bool:
                return cut_off == number and machine.store.refusals > 0

            await until(has_refused)
            push = machine.builder.plans[-1].push
            assert push is not None
            await machine.internal.untag("shop/app", push.tag or "")
            machine.store.failure = None
        build = await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert len(machine.builder.plans) == 4
    assert build.status.attempts == 1


async def test_the_log_warns_of_what_one_layer_may_change(machine: BuildMachine) -> None:
    text = "FROM scratch\nVOLUME /data\nCOPY x /data/x\n"
    for number, policy in ((1, "SkipLayersAndWarn"), (2, "SkipLayers")):
        docker = DockerBuildStrategy(image_optimization_policy=policy)
        strategy = BuildStrategy(type="Docker", docker_strategy=docker)
        await machine.store.create(docker_build(number, dockerfile=text, strategy=strategy))
    async with machine.building():
        await until_phase(machine, "app-2", BuildPhase.COMPLETE)
        warned, plain = [
            machine.logs.tail((await machine.build(f"app-{number}")).uid, 50) for number in (1, 2)
        ]
    assert "warning: Dockerfile line 3: COPY adds to the volume /data of line 2" in warned
    assert "warning" not in plain


async def test_jenkins_builds_are_left_alone(machine: BuildMachine) -> None:
    strategy = BuildStrategy.model_validate(
        {"type": "JenkinsPipeline", "jenkinsPipelineStrategy": {"jenkinsfile": "node {}"}}
    )
    await machine.store.create(docker_build(strategy=strategy))
    async with machine.building():
        build = await until_reason(machine, "app-1", "JenkinsPipeline")
    assert build.status.phase is BuildPhase.NEW
    assert machine.builder.plans == []


async def test_a_restart_takes_up_what_was_running(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
    assert (await machine.build("app-1")).status.phase is BuildPhase.RUNNING
    machine.builder.gate.set()
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


@pytest.mark.parametrize("forced", [None, True])
async def test_a_run_that_is_killed_after_its_push_does_not_build_again(
    machine: BuildMachine, *, forced: bool | None
) -> None:
    await machine.store.create(docker_build(forced=forced))

    def fill_disk() -> None:
        machine.store.failure = UnavailableError("disk full")

    machine.builder.after_push = fill_disk
    async with machine.building():

        async def has_refused() -> bool:
            return machine.store.refusals > 0

        await until(has_refused)
    machine.store.failure = None
    async with machine.building():
        build = await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert len(machine.builder.plans) == 1
    assert build.status.output is not None
    assert build.status.output.to is not None
    history = await machine.history("app", "latest")
    assert [event.image for event in history.items] == [build.status.output.to.image_digest]


@pytest.mark.parametrize("is_custom", [False, True])
async def test_a_build_that_goes_on_signs_what_it_pushed_and_not_what_its_builder_did(
    machine: BuildMachine, *, is_custom: bool
) -> None:
    tool = await push(machine.vendor.registry, "tool:1", "tool")
    builder = {"from": {"kind": "DockerImage", "name": f"vendor.example/tool@{tool}"}}
    strategy = {"type": "Custom", "customStrategy": builder}
    build = docker_build(strategy=strategy) if is_custom else docker_build()
    await machine.store.create(build)
    signed: list[Digest] = []

    async def sign(_: Build, digest: Digest) -> str:
        signed.append(digest)
        return ""

    def fill_disk() -> None:
        machine.store.failure = UnavailableError("disk full")

    machine.sign = sign
    machine.builder.after_push = fill_disk
    async with machine.building():

        async def has_refused() -> bool:
            return machine.store.refusals > 0

        await until(has_refused)
    if is_custom:  # its own code has the login, and pushes what it likes
        inputs = (await machine.build("app-1")).status.inputs or ""
        await push(machine.internal, f"{NAMESPACE}/app:{inputs_tag(inputs)}", "whatever")
    signed.clear()
    machine.store.failure = None
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert bool(signed) is not is_custom


@pytest.mark.parametrize("tag", ["older", ""], ids=["of another build", "of none"])
async def test_an_image_that_a_build_did_not_push_is_not_believed(
    machine: BuildMachine, tag: str
) -> None:
    """A command of the build may write its last word, and name an image that it has not made."""
    older = await push(machine.internal, f"{NAMESPACE}/app:{tag or 'gone'}", "older")
    claimed = older if tag else Digest.of(b"nothing")
    signed: list[Digest] = []

    async def lie(_: BuildPlan) -> Digest:
        return claimed

    async def sign(_: Build, digest: Digest) -> str:
        signed.append(digest)
        return ""

    machine.builder.make = lie
    machine.sign = sign
    await machine.store.create(docker_build())
    async with machine.building():
        build = await until_reason(machine, "app-1", "PushImageToRegistryFailed")
    assert str(claimed) in (build.status.message or "")
    assert (await machine.stream("app")).status.tag("latest") is None
    assert signed == []


async def test_a_build_that_names_no_image_has_failed(machine: BuildMachine) -> None:
    machine.builder.silent = True
    await machine.store.create(docker_build())
    async with machine.building():
        build = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert "names no image" in (build.status.message or "")


async def test_equal_inputs_are_built_once_unless_a_person_asks(machine: BuildMachine) -> None:
    for number, forced in ((1, None), (2, None), (3, True)):
        await machine.store.create(docker_build(number, forced=forced))
    async with machine.building():
        await until_phase(machine, "app-3", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans] == ["app-1", "app-3"]
    first, second, third = [(await machine.build(f"app-{number}")).status for number in (1, 2, 3)]
    assert first.output == second.output != third.output
    assert (await machine.history("app", "latest")).items[0].image == (
        third.output.to.image_digest if third.output and third.output.to else None
    )


async def test_the_images_of_the_first_try_are_those_of_every_try(machine: BuildMachine) -> None:
    old = await push(machine.vendor.registry, "debian:11", "old")
    await machine.store.create(docker_build(dockerfile="FROM vendor.example/debian:11\n"))
    machine.builder.failure = PUSH_FAILED
    async with machine.building():
        await until_reason(machine, "app-1", PUSH_FAILED.reason)
    await push(machine.vendor.registry, "debian:11", "new")
    machine.builder.failure = None
    machine.clock.advance(10)
    async with machine.building():
        build = await until_phase(machine, "app-1", BuildPhase.COMPLETE)
    assert [image.reference for image in build.status.images] == [f"vendor.example/debian@{old}"]
    assert {plan.base_digest for plan in machine.builder.plans} == {str(old)}
    assert {plan.base_name for plan in machine.builder.plans} == {"vendor.example/debian"}


async def test_a_deadline_is_not_reached_by_setting_the_clock(machine: BuildMachine) -> None:
    await machine.store.create(docker_build(completion_deadline_seconds=60))
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        machine.clock.advance(86400)
    machine.builder.gate.set()
    async with machine.building():  # each attempt has the whole time
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_a_build_that_hangs_ends_at_its_deadline(machine: BuildMachine) -> None:
    await machine.store.create(docker_build(completion_deadline_seconds=1))
    machine.builder.gate.clear()
    async with machine.building():
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert failed.status.reason == "DeadlineExceeded"
    assert "1 s" in (failed.status.message or "")


async def test_a_build_says_what_it_waits_for_while_it_does_and_at_its_deadline(
    machine: BuildMachine,
) -> None:
    await machine.store.create(docker_build(completion_deadline_seconds=1))
    machine.builder.obstacle = "Pod app-1-build waits: Unschedulable: 0/1 nodes fit"
    machine.builder.gate.clear()
    async with machine.building():
        waits = await until_reason(machine, "app-1", "PodWaits")
        assert waits.status.phase is BuildPhase.RUNNING
        assert waits.status.message == machine.builder.obstacle
        failed = await until_phase(machine, "app-1", BuildPhase.FAILED)
    assert failed.status.reason == "DeadlineExceeded"
    assert (failed.status.message or "").endswith(f"1 s: {machine.builder.obstacle}")


async def test_times_of_a_build_are_in_order_though_the_clock_was_set_back(
    machine: BuildMachine,
) -> None:
    await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        machine.clock.advance(-86400)
        machine.builder.gate.set()
        status = (await until_phase(machine, "app-1", BuildPhase.COMPLETE)).status
    assert status.start_timestamp is not None
    assert status.completion_timestamp is not None
    assert status.completion_timestamp >= status.start_timestamp
    assert 0 < (status.duration or 0) < 60 * 10**9
    assert all(stage.duration >= timedelta(0) for stage in status.stages)


async def test_an_output_that_does_not_exist_is_waited_for(machine: BuildMachine) -> None:
    await machine.store.delete(type(await machine.stream("app")), NAMESPACE, "app")
    await machine.store.create(docker_build())
    async with machine.building():
        build = await until_reason(machine, "app-1", "InvalidOutputReference")
    assert build.status.phase is BuildPhase.NEW
    assert "shop/app does not exist" in (build.status.message or "")
    assert machine.builder.plans == []
    await machine.store.create(image_stream("app"))
    machine.clock.advance(10)
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_a_build_that_waits_has_a_phase_where_it_was_created_without_a_status(
    machine: BuildMachine,
) -> None:
    """As a cluster creates it, whose clients show the phase that is written."""
    await machine.store.delete(type(await machine.stream("app")), NAMESPACE, "app")
    created = await machine.store.create(docker_build())
    await machine.store.update_status(created.with_status(BuildStatus(reason="JustMade")))
    async with machine.building():
        build = await until_reason(machine, "app-1", "InvalidOutputReference")
    assert encode(build)["status"]["phase"] == "New"


async def test_a_pod_that_is_refused_is_waited_for_beyond_the_deadline(
    machine: BuildMachine,
) -> None:
    """As OpenShift does, whose deadline counts from the Pod's start: the build stays New."""
    await machine.store.create(docker_build(completion_deadline_seconds=20))
    machine.builder.failure = BuildError("CannotCreateBuildPod", "exceeded quota", retryable=True)
    for attempt in range(1, 5):
        async with machine.building():
            waits = await until_reason(machine, "app-1", "CannotCreateBuildPod")
        assert (waits.status.phase, waits.status.attempts) == (BuildPhase.NEW, attempt)
        assert (waits.status.message or "").startswith("Failed creating build pod. exceeded quota")
        assert waits.status.retry_time is not None
        wait = (waits.status.retry_time - machine.clock()).total_seconds()
        await write(machine, "app-1", reason=None)
        machine.clock.advance(wait)
    machine.builder.failure = None
    async with machine.building():
        await until_phase(machine, "app-1", BuildPhase.COMPLETE)


async def test_an_output_that_is_deleted_during_the_build_is_named(machine: BuildMachine) -> None:
    await machine.store.create(docker_build())
    machine.builder.gate.clear()
    async with machine.building():
        await until_running(machine, 1)
        await machine.store.delete(type(await machine.stream("app")), NAMESPACE, "app")
        machine.builder.gate.set()
        build = await until_reason(machine, "app-1", "InvalidOutputReference")
    assert build.status.phase is BuildPhase.NEW
    with pytest.raises(NotFoundError):
        await machine.stream("app")
