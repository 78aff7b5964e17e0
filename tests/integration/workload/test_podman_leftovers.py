"""Leftovers of instances that are gone: there are none."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload, root_filesystem

from upwell.oci import Digest
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

_WITH_VOLUME = "localhost/database"


@pytest.fixture
def database(podman_home: PodmanHome) -> Iterator[Workload]:
    """An image that declares a volume of its own."""
    change = "--change=VOLUME /data"
    podman_home.run("import", change, "-", f"{_WITH_VOLUME}:latest", stdin=root_filesystem())
    found = json.loads(podman_home.run("image", "inspect", f"{_WITH_VOLUME}:latest"))
    digest = Digest.parse(found[0]["Digest"])
    yield Workload(replace(podman_home.image, repository="database", tag=None, digest=digest))
    podman_home.run("volume", "prune", "--force")


def volumes(home: PodmanHome) -> set[str]:
    return set(home.run("volume", "ls", "--quiet").split())


async def test_anonymous_volumes_go_with_their_container_and_named_ones_stay(
    settings: PodmanSettings, podman_home: PodmanHome, database: Workload
) -> None:
    podman_home.run("volume", "create", "kept")
    before = volumes(podman_home)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(database.spec(database.container("sleep", "60")))
        await runtime.stop("web-1-a", 0)
    assert volumes(podman_home) == before
    assert "kept" in before
