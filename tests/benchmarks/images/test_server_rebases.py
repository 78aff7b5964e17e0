"""Rebases by the server, as a Wave uses them: builds of which the base alone has changed.

SERVER_REBASES says how many, 40 if it does not. The builder is in memory, and does nothing when all
are rebased; registry, store and comparisons are the server's own. Crane rebases as many images in
docker-registry, four processes at a time, without a look into them. Run with
`pytest -m benchmark -s tests/benchmarks/images/test_server_rebases.py`.
"""

import os
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from tests.benchmarks.images.test_rebase import CRANE, by_crane
from tests.support.benchmarks.processor_time import process_seconds, tree_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.memory_builds import docker_build, image_stream
from tests.support.builds.rebased_builds import FROM_BASE, NEW, OLD, RebaseMachine, until_ended
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.made_images import made_image, push_made, tar_of

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import BuildOutput
from upwell.api.meta import ObjectReference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher

pytestmark = pytest.mark.benchmark

COUNT = int(os.environ.get("SERVER_REBASES", "40"))
AT_ONCE = 4


def built(number: int, config: int, answer: str | None = None) -> Build:
    to = ObjectReference(kind="ImageStreamTag", name=f"app{config}:latest")
    return docker_build(
        number,
        config=f"app{config}",
        dockerfile=f"{FROM_BASE}LABEL app={config}\n",
        output=BuildOutput(to=to),
        on_base_change=answer,
    )


async def all_done(machine: RebaseMachine, builds: list[Build]) -> None:
    for build in builds:
        await machine.store.create(build)
    async with machine.building(AT_ONCE):
        for build in builds:
            await until_ended(machine, build.name, 30 + COUNT)
    for build in builds:
        assert (await machine.build(build.name)).status.phase is BuildPhase.COMPLETE


async def sampled(title: str, work: Awaitable[None]) -> tuple[float, float]:
    """Print what the work takes; of processes that others have forked, too.

    Return the milliseconds of an image by the clock, and of the processor.
    """

    def used() -> tuple[float, float]:
        return process_seconds(os.getpid()), tree_seconds(os.getpid())

    own, whole = used()
    began = time.perf_counter()
    await work
    took = time.perf_counter() - began
    now = used()
    own, whole, took = (one / COUNT * 1000 for one in (now[0] - own, now[1] - whole, took))
    print(  # noqa: T201
        f"{title}: {took:.0f} ms, {whole:.0f} ms of processor for an image,"
        f" {whole - own:.0f} of these in processes that were started"
    )
    return took, whole


async def test_rebases_of_a_wave(tmp_path: Path, ratios: Ratios) -> None:
    machine = RebaseMachine(tmp_path, tmp_path / "layers")
    await machine.update_base(OLD)
    for config in range(COUNT):
        await machine.store.create(image_stream(f"app{config}"))
    await all_done(machine, [built(1, config) for config in range(COUNT)])
    await machine.update_base(NEW)
    print()  # noqa: T201
    again = [built(2, config, "rebase") for config in range(COUNT)]
    took, used = await sampled("the server", all_done(machine, again))
    assert len(machine.builder.plans) == COUNT, "none was built again"
    if CRANE is None:
        return
    folder = tmp_path / "docker"
    folder.mkdir()
    async with docker_registry(folder) as host, RegistryClient(unrestricted()) as client:
        pusher = RegistryPusher(client.connection)
        names = [f"{host}/team/app{number}:1" for number in range(COUNT)]
        for tag, layer in (("1", OLD), ("2", NEW)):
            await push_made(pusher, f"{host}/base:{tag}", made_image(layer))
        for number, name in enumerate(names):
            own = tar_of({"srv/app": str(number).encode()})
            await push_made(pusher, name, made_image(OLD, own))
        of_crane = await sampled("crane with its registry", by_crane(host, names, "rebased"))
    ratios.note_cost("rebases by the server's builds, time of crane", took / of_crane[0])
    title = "rebases by the server's builds, processor of crane with its registry"
    ratios.note_cost(title, used / of_crane[1])
