"""Images that a build names, and whose tags have got a change since that nobody has approved."""

from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    BuildMachine,
    docker_build,
    image_stream,
    imported,
    push,
    stream_key,
    until,
)

from upwell.api.builds.build import BuildPhase, ImageInput
from upwell.api.builds.inputs import BuildStrategy, DockerBuildStrategy
from upwell.api.meta import ObjectReference
from upwell.api.waves.wave import APPROVAL_ANNOTATION
from upwell.oci import Digest

DEBIAN = "vendor.example/debian:11"
TAG = ObjectReference(kind="ImageStreamTag", name="debian:11", namespace=NAMESPACE)
STRATEGIES = {
    "named by the Dockerfile": DockerBuildStrategy(),
    "named by the spec": DockerBuildStrategy(from_=TAG),
}
by_whom = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildMachine:
    monkeypatch.setattr("upwell.reconcilers.builds.builds.FIRST_RETRY_SECONDS", 0.02)
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


async def changed(machine: BuildMachine) -> tuple[Digest, Digest]:
    """Let a stream that asks for approval import another image; return both digests."""
    tag = imported("11", DEBIAN, scheduled=True)
    await machine.store.create(image_stream("debian", tag, **{APPROVAL_ANNOTATION: "manual"}))
    streams = machine.streams()
    digests = []
    for mark in ("old", "new"):
        digests.append(await push(machine.vendor.registry, "debian:11", mark))
        await streams.reconcile(stream_key("debian"))
        machine.clock.advance(7200)
    assert (await machine.history("debian", "11")).items[0].image == str(digests[1])
    return digests[0], digests[1]


async def until_phase(machine: BuildMachine, phase: BuildPhase, reason: str | None) -> None:
    async def is_so() -> bool:
        status = (await machine.build("app-1")).status
        return (status.phase, status.reason) == (phase, reason)

    await until(is_so)


@by_whom
async def test_a_build_takes_no_change_that_it_was_not_made_for(
    machine: BuildMachine, strategy: DockerBuildStrategy
) -> None:
    _, new = await changed(machine)
    spec = BuildStrategy(type="Docker", docker_strategy=strategy)
    await machine.store.create(docker_build(dockerfile=f"FROM {DEBIAN}\n", strategy=spec))
    async with machine.building():
        await until_phase(machine, BuildPhase.NEW, "WaveApproval")
        build = await machine.build("app-1")
        assert "its change waits for approval" in (build.status.message or "")
        stream = await machine.stream("debian")
        await machine.store.update(stream.with_metadata(annotations={}))
        machine.clock.advance(3600)
        await until_phase(machine, BuildPhase.COMPLETE, None)
    [image] = (await machine.build("app-1")).status.images
    assert image.reference.endswith(str(new))


@by_whom
async def test_a_build_keeps_what_it_was_made_for(
    machine: BuildMachine, strategy: DockerBuildStrategy
) -> None:
    old, _ = await changed(machine)
    inputs = (ImageInput(from_=TAG, image=f"vendor.example/debian@{old}"),)
    spec = BuildStrategy(type="Docker", docker_strategy=strategy)
    build = docker_build(dockerfile=f"FROM {DEBIAN}\n", strategy=spec, image_inputs=inputs)
    await machine.store.create(build)
    async with machine.building():
        await until_phase(machine, BuildPhase.COMPLETE, None)
    [image] = (await machine.build("app-1")).status.images
    assert image.reference.endswith(str(old))
    assert image.stream_tag == f"{NAMESPACE}/debian:11"
