"""Contract of runtimes: images that they have pulled, and their removal."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from operator import not_
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry
from tests.support.rollouts.memory_machine import FakeRuntime, MemoryClock
from tests.support.workload.podman_home import (
    OWNER,
    PodmanHome,
    podman_home_in,
    root_filesystem,
)
from tests.support.workload.waiting import eventually

from upwell.oci import Digest, Reference
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec
from upwell.workload.interface import InstanceImage, Runtime, State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings


@dataclass
class PullingRuntime:
    """A runtime, an image in a registry, and what somebody else does with it in the storage."""

    runtime: Runtime
    image: Reference
    pull: Callable[[], None]
    name: Callable[[], None]
    unname: Callable[[], None]

    @property
    def spec(self) -> InstanceSpec:
        web = ContainerSpec("web", self.image, ("/bin/sh", "-c"), ("exec sleep 600",))
        registries = frozenset({self.image.registry})
        return InstanceSpec("web-1-a", OWNER, "rev1", (web,), insecure_registries=registries)

    async def provide(self) -> None:
        await eventually(lambda: self.runtime.provide(self.spec), not_)

    async def found(self) -> InstanceImage:
        [found] = await self.runtime.pulled_images()
        assert found.reference == self.image
        return found


@pytest.fixture(scope="module")
def podman_home() -> Iterator[PodmanHome]:
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-contract-"))) as home:
        yield home


def in_memory() -> PullingRuntime:
    runtime = FakeRuntime(MemoryClock())
    image = Reference.parse("registry.test/team/web").with_digest(Digest.of(b"pulled"))

    def theirs() -> None:
        runtime.foreign_images.add(image)

    return PullingRuntime(
        runtime, image, theirs, theirs, lambda: runtime.foreign_images.discard(image)
    )


@pytest.fixture
async def on_podman(podman_home: PodmanHome, tmp_path: Path) -> AsyncIterator[PullingRuntime]:
    home, folder = podman_home, tmp_path
    name = uuid.uuid4().hex[:8]
    settings = PodmanSettings(
        data_dir=home.root / name,
        instance_id=name,
        storage_root=home.root / "storage",
        run_root=home.root / "run",
        containers_conf=home.conf,
    )
    async with docker_registry(folder) as registry, PodmanRuntime.open(settings) as runtime:
        image = await asyncio.to_thread(_push, home, f"{registry}/team/{name}", folder / "digest")
        other = f"localhost/{name}:theirs"
        yield PullingRuntime(
            runtime,
            image,
            lambda: _run(home, "pull", "--tls-verify=false", str(image)),
            lambda: _run(home, "tag", str(image), other),
            lambda: _run(home, "rmi", other),
        )
        await runtime.teardown()


def _push(home: PodmanHome, name: str, digest_file: Path) -> Reference:
    """Push an image that does not lie in the storage."""
    local = f"localhost/{name.rpartition('/')[2]}:1"
    home.run("import", "--message", name, "-", local, stdin=root_filesystem())
    flags = ("--tls-verify=false", f"--digestfile={digest_file}")
    home.run("push", *flags, local, f"docker://{name}:1")
    home.run("rmi", local)
    return Reference.parse(name).with_digest(Digest.parse(digest_file.read_text().strip()))


def _run(home: PodmanHome, *arguments: str) -> None:
    home.run(*arguments)


@pytest.fixture(params=["memory", "podman"])
def pulling(request: pytest.FixtureRequest) -> PullingRuntime:
    if request.param == "memory":
        return in_memory()
    made: PullingRuntime = request.getfixturevalue("on_podman")
    return made


async def test_a_pulled_image_is_in_use_while_there_is_an_instance_and_can_go_then(
    pulling: PullingRuntime,
) -> None:
    runtime = pulling.runtime
    assert await runtime.pulled_images() == []
    await pulling.provide()
    before = await pulling.found()
    assert pulling.image.digest in before.digests

    await runtime.start(pulling.spec)
    [instance] = await runtime.instances()
    assert instance.state is State.RUNNING
    in_use = await pulling.found()
    assert in_use.used_at >= before.used_at
    assert not await runtime.remove_pulled_image(in_use), "a container has it"
    await runtime.stop(pulling.spec.name, 0)

    assert await runtime.remove_pulled_image(await pulling.found())
    assert await runtime.pulled_images() == []
    await pulling.provide()
    assert (await pulling.found()).digests == before.digests


async def test_an_image_that_was_there_before_is_not_a_pulled_one(pulling: PullingRuntime) -> None:
    await asyncio.to_thread(pulling.pull)
    await pulling.provide()
    assert await pulling.runtime.pulled_images() == []


async def test_an_image_with_another_name_is_somebody_elses(pulling: PullingRuntime) -> None:
    await pulling.provide()
    await asyncio.to_thread(pulling.name)
    assert await pulling.runtime.pulled_images() == []
    await asyncio.to_thread(pulling.unname)
    assert await pulling.runtime.remove_pulled_image(await pulling.found())
