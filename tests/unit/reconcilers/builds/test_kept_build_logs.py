"""Logs of builds are kept before their ends are written, and cost no build its end."""

import asyncio
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import BuildMachine, docker_build, image_stream, until

from upwell.api.builds.build import BuildPhase
from upwell.builder.interface import BuildError

DEADLINE_SECONDS = 1


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


async def until_phase(machine: BuildMachine, phase: BuildPhase) -> None:
    async def has_phase() -> bool:
        return (await machine.build("app-1")).status.phase is phase

    await until(has_phase)


@pytest.mark.parametrize(
    ("failure", "end"),
    [
        (None, BuildPhase.COMPLETE),
        (BuildError("DockerBuildFailed", "RUN false: exit status 1"), BuildPhase.FAILED),
    ],
)
async def test_who_sees_the_end_of_a_build_finds_its_log_kept(
    machine: BuildMachine,
    monkeypatch: pytest.MonkeyPatch,
    failure: BuildError | None,
    end: BuildPhase,
) -> None:
    phases: list[BuildPhase] = []

    async def keep(build_id: str, namespace: str, *, again: bool = False) -> float:
        build = await machine.build("app-1")
        assert (build_id, namespace) == (build.uid, build.namespace)
        if not again:
            phases.append(build.status.phase)
        return 0

    monkeypatch.setattr(machine.logs, "keep", keep)
    machine.builder.failure = failure
    await machine.store.create(docker_build())
    async with machine.building():
        await until_phase(machine, end)
    assert phases == [BuildPhase.RUNNING]


async def test_a_log_that_is_kept_slowly_does_not_time_a_finished_build_out(
    machine: BuildMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    tries: list[BuildPhase] = []

    async def keep(build_id: str, namespace: str, *, again: bool = False) -> float:
        del build_id, namespace
        if not again:
            tries.append((await machine.build("app-1")).status.phase)
            due = loop.time() + DEADLINE_SECONDS

            async def is_past_deadline() -> bool:
                return loop.time() > due

            await until(is_past_deadline)
        return 0

    monkeypatch.setattr(machine.logs, "keep", keep)
    await machine.store.create(docker_build(completion_deadline_seconds=DEADLINE_SECONDS))
    async with machine.building():

        async def has_ended() -> bool:
            return (await machine.build("app-1")).status.phase.is_terminal

        await until(has_ended)
    status = (await machine.build("app-1")).status
    assert (status.phase, status.reason) == (BuildPhase.COMPLETE, None)
    assert (await machine.stream("app")).status.tag("latest") is not None
    assert tries == [BuildPhase.RUNNING]
