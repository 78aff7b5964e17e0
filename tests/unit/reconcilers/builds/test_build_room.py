"""Builds that take more room on the disk than they may: ended, told of, and not tried again."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    BuildMachine,
    docker_build,
    image_stream,
    until,
)

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.pod_template import ResourceRequirements

MEBIBYTE = 1024**2


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildMachine:
    monkeypatch.setattr("upwell.reconcilers.builds.room._SECONDS", 0.01)
    machine = BuildMachine(tmp_path)
    machine.builder.gate.clear()
    await machine.store.create(image_stream("app"))
    return machine


async def start(
    machine: BuildMachine, number: int, limits: dict[str, str | int | float] | None = None
) -> Build:
    build = docker_build(number, policy="Parallel", forced=True)
    if limits:
        spec = build.spec.model_copy(update={"resources": ResourceRequirements(limits=limits)})
        build = build.model_copy(update={"spec": spec})
    build = await machine.store.create(build)

    async def runs() -> bool:
        return build.uid in machine.builder.running

    await until(runs)
    return build


def write(machine: BuildMachine, build: Build, mebibytes: int) -> None:
    folder = machine.builder.folder(build.uid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{mebibytes}").write_bytes(os.urandom(mebibytes * MEBIBYTE))


async def phase(machine: BuildMachine, build: Build) -> BuildPhase:
    return (await machine.build(build.name)).status.phase


async def ended(machine: BuildMachine, build: Build) -> Build:
    async def has_ended() -> bool:
        return (await phase(machine, build)).is_terminal

    await until(has_ended)
    return await machine.build(build.name)


async def test_a_build_ends_at_the_limit_that_it_states(machine: BuildMachine) -> None:
    async with machine.building():
        build = await start(machine, 1, {"ephemeral-storage": "1Mi"})
        write(machine, build, 2)
        found = await ended(machine, build)

        async def is_discarded() -> bool:
            return build.uid in machine.builder.discarded

        await until(is_discarded)
    assert (found.status.phase, found.status.reason) == (BuildPhase.FAILED, "BuildStorageExceeded")
    assert "may take 1Mi: write less" in (found.status.message or "")
    assert found.status.attempts == 1
    assert machine.builder.cancelled == {build.uid}
    assert await machine.rooms.used(NAMESPACE) == 0


async def test_nobody_states_more_than_the_machine_gives(machine: BuildMachine) -> None:
    machine.rooms._most = 3 * MEBIBYTE
    async with machine.building():
        build = await start(machine, 1, {"ephemeral-storage": "1Ti"})
        write(machine, build, 4)
        found = await ended(machine, build)
    assert "may take 3Mi" in (found.status.message or "")


async def test_the_largest_of_a_namespace_makes_room_for_the_others(machine: BuildMachine) -> None:
    machine.quota = ("team", Decimal(5 * MEBIBYTE))
    async with machine.building():
        small, large = await start(machine, 1), await start(machine, 2)
        write(machine, large, 3)
        write(machine, small, 1)

        async def are_counted() -> bool:
            return await machine.rooms.used(NAMESPACE) >= 4 * MEBIBYTE

        await until(are_counted)
        assert not (await phase(machine, large)).is_terminal
        write(machine, large, 2)
        found = await ended(machine, large)
        machine.builder.gate.set()
        assert (await ended(machine, small)).status.phase is BuildPhase.COMPLETE
    assert found.status.reason == "BuildStorageExceeded"
    message = found.status.message or ""
    assert message.startswith("exceeded quota: team, used: upwell.dev/build-storage=")
    assert "limited: upwell.dev/build-storage=5Mi" in message


async def test_a_quota_that_is_raised_in_time_ends_nothing(machine: BuildMachine) -> None:
    machine.quota = ("team", Decimal(2 * MEBIBYTE))
    async with machine.building():
        build = await start(machine, 1)
        machine.quota = ("team", Decimal(8 * MEBIBYTE))
        write(machine, build, 4)

        async def is_counted() -> bool:
            return await machine.rooms.used(NAMESPACE) >= 4 * MEBIBYTE

        await until(is_counted)
        machine.builder.gate.set()
        assert (await ended(machine, build)).status.phase is BuildPhase.COMPLETE


async def test_a_limit_that_is_no_quantity_is_named(machine: BuildMachine) -> None:
    async with machine.building():
        spec = docker_build().spec
        wrong = ResourceRequirements(limits={"ephemeral-storage": "much"})
        spec = spec.model_copy(update={"resources": wrong})
        build = docker_build().model_copy(update={"spec": spec})
        found = await ended(machine, await machine.store.create(build))
    assert "spec.resources.limits" in (found.status.message or "")
