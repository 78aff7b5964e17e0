"""Builds that take no slot yet: their registry refuses pushes, or their inputs are outdated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    VENDOR,
    BuildMachine,
    docker_build,
    image_stream,
    push,
    until,
)

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import BuildOutput
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectReference
from upwell.builder.interface import LimitedPushError
from upwell.oci import Digest
from upwell.policy.images.streams import record_image
from upwell.reconcilers.builds.build_configs import build_config_controller

REFUSED = LimitedPushError("PushImageToRegistryFailed", "toomanyrequests", retryable=True)


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildMachine:
    monkeypatch.setattr("upwell.policy.builds.push_gates.FIRST_PAUSE", 0.2)
    monkeypatch.setattr("upwell.reconcilers.builds.builds.FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("upwell.reconcilers.builds.slots._PRESSURE_PAUSE", 0.05)
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


async def until_build(
    machine: BuildMachine, name: str, phase: BuildPhase, reason: str | None = None
) -> Build:
    found: list[Build] = []

    async def is_so() -> bool:
        builds = {one.name: one for one in (await machine.store.list(Build)).items}
        build = builds.get(name)
        found[:] = [build] if build is not None else []
        return build is not None and (build.status.phase, build.status.reason) == (phase, reason)

    await until(is_so)
    return found[0]


def pushes_to(registry: str, config: str) -> Build:
    to = ObjectReference(kind="DockerImage", name=f"{registry}/team/{config}:1")
    return docker_build(config=config, output=BuildOutput(to=to))


async def test_builds_of_a_registry_that_refuses_pushes_leave_the_slots_to_others(
    machine: BuildMachine,
) -> None:
    machine.builder.failure = REFUSED
    await machine.store.create(pushes_to("quay.io", "first"))
    async with machine.building(slots=1):
        await until_build(machine, "first-1", BuildPhase.NEW, "PushImageToRegistryFailed")
        machine.builder.failure = None
        machine.builder.gate.clear()
        for config in ("second", "third"):
            await machine.store.create(pushes_to("quay.io", config))
        await machine.store.create(pushes_to("ghcr.io", "other"))

        async def runs() -> bool:
            return len(machine.builder.running) == 1

        await until(runs)
        waiting = await until_build(machine, "third-1", BuildPhase.NEW, "OutputRateLimited")
        assert "quay.io" in (waiting.status.message or "")
        machine.builder.gate.set()
        for config in ("other", "first", "second", "third"):
            await until_build(machine, f"{config}-1", BuildPhase.COMPLETE)
    assert [plan.name for plan in machine.builder.plans][:2] == ["first-1", "other-1"]
    assert len(machine.builder.plans) == 5


async def test_one_build_at_a_time_tries_whether_pushes_are_taken(machine: BuildMachine) -> None:
    machine.builder.failure = REFUSED
    await machine.store.create(pushes_to("quay.io", "first"))
    async with machine.building(slots=4):
        await until_build(machine, "first-1", BuildPhase.NEW, "PushImageToRegistryFailed")
        machine.builder.failure = None
        machine.builder.gate.clear()
        for number in range(4):
            await machine.store.create(pushes_to("quay.io", f"more{number}"))

        async def tries() -> bool:
            builds = (await machine.store.list(Build)).items
            waits = [b for b in builds if b.status.reason == "OutputRateLimited"]
            return len(machine.builder.running) == 1 and len(waits) == 4

        await until(tries)
        machine.builder.gate.set()
        for number in range(4):
            await until_build(machine, f"more{number}-1", BuildPhase.COMPLETE)
        await until_build(machine, "first-1", BuildPhase.COMPLETE)


async def test_a_registry_whose_budget_is_closed_takes_no_slot(machine: BuildMachine) -> None:
    closed = {"quay.io": 0.3}
    machine.closed_for = lambda registry: closed.get(registry, 0.0)
    await machine.store.create(pushes_to("quay.io", "first"))
    async with machine.building():
        await until_build(machine, "first-1", BuildPhase.NEW, "OutputRateLimited")
        assert machine.builder.plans == []
        closed.clear()
        await until_build(machine, "first-1", BuildPhase.COMPLETE)


@asynccontextmanager
async def building_by_itself(machine: BuildMachine) -> AsyncIterator[None]:
    """Run what starts builds, and what runs them."""
    async with machine.building():
        run = asyncio.create_task(build_config_controller(machine.index, machine.clock).run())
        try:
            yield
        finally:
            run.cancel()
            await asyncio.wait([run])


async def publish(machine: BuildMachine, mark: str) -> None:
    """Let stream `base` name another image."""
    stream = await machine.stream("base")
    digest = str(await push(machine.vendor.registry, "base:latest", mark))
    image = f"{VENDOR}/base@{digest}"
    event = TagEvent(image=digest, docker_image_reference=image, created=machine.clock())
    status = record_image(stream.status, "latest", event, changes={})
    await machine.store.update_status(stream.with_status(status))


async def config(machine: BuildMachine, name: str, base: str) -> None:
    document = {
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "source": {"dockerfile": "FROM scratch\n"},
            "strategy": {
                "type": "Docker",
                "dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": base}},
            },
            "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
            "triggers": ({"type": "ImageChange", "imageChange": {}},),
        },
    }
    await machine.store.create(BuildConfig.model_validate(document))


async def results(machine: BuildMachine, stream: str) -> list[Digest]:
    history = (await machine.stream(stream)).status.tag("latest")
    return [Digest.parse(item.image) for item in history.items] if history is not None else []


async def follow_in_a_row(machine: BuildMachine) -> None:
    """Have app built on middle, and middle on base, which is published once."""
    for name in ("base", "middle"):
        await machine.store.create(image_stream(name))
    await publish(machine, "one")
    await config(machine, "middle", "base:latest")
    await config(machine, "app", "middle:latest")


async def queue_up(machine: BuildMachine) -> None:
    """Publish the base twice more, until app-2 and middle-3 are queued; middle-3 may begin."""
    await until_build(machine, "app-1", BuildPhase.COMPLETE)
    machine.builder.gate.clear()
    await publish(machine, "two")
    await until_build(machine, "middle-2", BuildPhase.RUNNING)
    machine.clock.advance(10)
    machine.pressure = "no room"  # nothing begins, so builds queue up
    machine.builder.gate.set()
    await until_build(machine, "app-2", BuildPhase.NEW, "DiskPressure")
    await publish(machine, "three")
    await until_build(machine, "middle-3", BuildPhase.NEW, "DiskPressure")
    machine.builder.gate.clear()
    machine.pressure = ""


async def test_a_queued_build_waits_for_the_newer_inputs_that_are_due(
    machine: BuildMachine,
) -> None:
    await follow_in_a_row(machine)
    async with building_by_itself(machine):
        await queue_up(machine)
        await until_build(machine, "middle-3", BuildPhase.RUNNING)
        waiting = await until_build(machine, "app-2", BuildPhase.NEW, "UpstreamBuilding")
        assert "middle-3" in (waiting.status.message or "")
        machine.builder.gate.set()
        built = await until_build(machine, "app-2", BuildPhase.COMPLETE)
    newest = (await results(machine, "middle"))[0]
    assert [one.image.partition("@")[2] for one in built.spec.image_inputs] == [str(newest)]
    names = [plan.name for plan in machine.builder.plans]
    assert names == ["middle-1", "app-1", "middle-2", "middle-3", "app-2"]


async def test_a_queued_build_goes_on_when_what_it_waited_for_is_gone(
    machine: BuildMachine,
) -> None:
    await follow_in_a_row(machine)
    async with building_by_itself(machine):
        await queue_up(machine)
        await until_build(machine, "app-2", BuildPhase.NEW, "UpstreamBuilding")
        await machine.store.delete(BuildConfig, NAMESPACE, "middle")
        for build in (await machine.store.list(Build)).items:
            if build.labels[BUILD_CONFIG_LABEL] == "middle":
                await machine.store.delete(Build, NAMESPACE, build.name)
        machine.builder.gate.set()
        await until_build(machine, "app-2", BuildPhase.COMPLETE)
    assert isinstance(await machine.stream("middle"), ImageStream)
