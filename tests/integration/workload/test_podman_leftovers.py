"""Leftovers of instances that are gone: there are none."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload, root_filesystem

from upwell.oci import Digest
from upwell.workload.interface import LeftoverKind
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
        once = database.spec(database.container("sleep", "60"))
        await runtime.start(replace(once, role="pre"))
        await runtime.stop("web-1-a", 0)
    assert volumes(podman_home) == before
    assert "kept" in before


async def test_leftovers_of_every_kind_are_found_and_removed(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(workload.spec(workload.container("sleep", "60")))
        assert await runtime.leftovers() == []
        label = f"--label=upwell.dev/instance={settings.instance_id}"
        podman_home.run("network", "create", label, f"old-{settings.instance_id}")
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(settings.data_dir / "podman-dead.sock"))
        dead.close()
        anonymous = podman_home.run("volume", "create", "--label=a=b").strip()
        (settings.data_dir / "instances" / "web-2-b").mkdir()

        found = await runtime.leftovers()
        assert [(one.kind, one.name) for one in found] == [
            (LeftoverKind.FOLDER, "web-2-b"),
            (LeftoverKind.NETWORK, f"old-{settings.instance_id}"),
            (LeftoverKind.SOCKET, "podman-dead.sock"),
        ], anonymous  # made by hand, it is not anonymous
        for leftover in found:
            await runtime.remove_leftover(leftover)
            await runtime.remove_leftover(leftover)
        assert await runtime.leftovers() == []
        assert [one.name for one in await runtime.instances()] == ["web-1-a"]
    podman_home.run("volume", "rm", anonymous)


async def test_an_anonymous_volume_without_its_container_is_a_leftover(
    settings: PodmanSettings, podman_home: PodmanHome, database: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(database.spec(database.container("sleep", "60")))
        assert await runtime.leftovers() == []
        container = f"upwell-{settings.instance_id}.web-1-a.web"
        podman_home.run("rm", "--force", "--time=0", "--volumes=false", container)

        await runtime.stop("web-1-a", 0)
        [volume] = await runtime.leftovers()
        assert volume.kind is LeftoverKind.VOLUME
        await runtime.remove_leftover(volume)
        assert await runtime.leftovers() == []


async def test_what_a_failed_test_leaves_running_goes_with_its_volumes(
    settings: PodmanSettings, podman_home: PodmanHome
) -> None:
    before = volumes(podman_home)
    label = f"--label=upwell.dev/instance={settings.instance_id}"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.network()
        podman_home.run("run", "--detach", label, "--volume=/data", "localhost/web", "sleep", "60")
        assert volumes(podman_home) != before
    podman_home.clear(settings.instance_id, settings.network_name)
    assert volumes(podman_home) == before
