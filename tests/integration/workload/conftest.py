"""A private Podman storage for the session, with one small image, and a folder for each test."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload, podman_home_in

from upwell.machine.folder import remove_deep
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.tokens.files import TokenVolumes
from upwell.workload.podman.volumes.pins import Pins


@pytest.fixture(scope="session")
def podman_home() -> Iterator[PodmanHome]:
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-podman-"))) as home:
        yield home


@pytest.fixture
def settings(podman_home: PodmanHome) -> Iterator[PodmanSettings]:
    name = uuid.uuid4().hex[:8]
    made = PodmanSettings(
        data_dir=podman_home.root / name,
        instance_id=name,
        storage_root=podman_home.root / "storage",
        run_root=podman_home.root / "run",
        containers_conf=podman_home.conf,
    )
    yield made
    podman_home.clear(name, made.network_name)
    remove_deep(made.temporary_root)
    Pins(made.pins_root, ()).clear()
    volumes = TokenVolumes(made.tokens_root)
    for instance in volumes.names():
        volumes.release(instance)


@pytest.fixture
def workload(podman_home: PodmanHome) -> Workload:
    return Workload(podman_home.image)


@pytest.fixture
async def runtime(settings: PodmanSettings) -> AsyncIterator[PodmanRuntime]:
    async with PodmanRuntime.open(settings) as opened:
        yield opened


@pytest.fixture
async def entered(runtime: PodmanRuntime, workload: Workload) -> PodmanRuntime:
    """The runtime, with an instance that does nothing."""
    await runtime.start(workload.spec(workload.container("sleep", "600")))
    return runtime
