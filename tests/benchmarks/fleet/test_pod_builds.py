"""Builds in Pods of a real node, beside the same builds on this machine, and an empty Pod.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_pod_builds.py`. It makes Upwell's
image, unless UPWELL_IMAGE_ARCHIVE names what `make image` has made.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.support.benchmarks.ended_builds import LIMIT_SECONDS, EndedBuilds
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.base_images import run, serve_registry
from tests.support.builds.debian_applications import PYTHON, TINY, App, BuilderImageContext
from tests.support.installation.applications import base_stream, source_build, stream
from tests.support.installation.installation import Installation, installation
from tests.support.kubernetes.cluster import KitCluster, started_cluster
from tests.support.kubernetes.served_cluster import served, until
from tests.support.paths import ROOT

from upwell.app.builds.cluster import ClusterBuildPods
from upwell.app.client import create_client
from upwell.store.interface import ApiClient

pytestmark = pytest.mark.benchmark

NAMESPACE = "default"
ROUNDS = 9
IMAGE = "upwell.test/upwell:benchmark"
_IMAGE_SECONDS = 1200


@dataclass
class BuildServer:
    """A server that builds, and what each of its builds took, from the command to its end."""

    name: str
    start: Callable[[], CompletedProcess[str]]
    ended: EndedBuilds
    seconds: list[float] = field(default_factory=list)

    async def build(self) -> None:
        began = time.perf_counter()
        asked = await asyncio.to_thread(self.start)
        assert asked.returncode == 0, asked.stderr
        await self.ended.next_one()
        self.seconds.append(time.perf_counter() - began)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitCluster]:
    """Give a cluster with a real node that has Upwell's image."""
    archive = os.environ.get("UPWELL_IMAGE_ARCHIVE")
    if not archive:
        folder = tmp_path_factory.mktemp("image")
        run("make", "image", f"FOLDER={folder}", cwd=ROOT, seconds=_IMAGE_SECONDS)
        archive = str(next(folder.glob("*.oci.tar")))
    with started_cluster(tmp_path_factory.mktemp("kube"), "real") as started:
        started.load_image(Path(archive), IMAGE)
        yield started


def host_address(cluster: KitCluster) -> str:
    """Return the address at which Pods of the real node reach this machine."""
    network = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDR}")
    return str(next(ip_network(network).hosts()))


def push_builder(app: App, registry: str, folder: Path) -> None:
    """Make the builder image of an application, and push it as `vendor/builder:1`."""
    (folder / "context").mkdir(parents=True)
    context = BuilderImageContext(app, folder / "context")
    store = ("buildah", f"--root={folder / 'root'}", f"--runroot={folder / 'run'}")
    made = run(*store, "build", "--quiet", str(context.folder), seconds=LIMIT_SECONDS)
    target = f"docker://{registry}/vendor/builder:1"
    run(*store, "push", "--quiet", "--tls-verify=false", made, target, seconds=LIMIT_SECONDS)


def settings(registry: str, part: str, *allowed: str, more: str = "") -> str:
    """Return settings of a server whose builds push to a part of the registry."""
    places = ", ".join(f'"{place}"' for place in (registry, *allowed))
    return f"""
[outbound]
allow = [{places}]
[external-registry]
prefix = "{registry}/{part}"
[[registry]]
prefix = "{registry}"
insecure = true
{more}
"""


@asynccontextmanager
async def on_this_machine(
    app: App, registry: str
) -> AsyncIterator[tuple[BuildServer, Installation]]:
    """Give a server that builds by itself, and the repository `app` of both servers."""

    def prepare(made: Installation) -> None:
        path = made.folder / "upwell.toml"
        path.write_text(settings(registry, "machine"))
        made.options = ("--config", str(path))
        made.commit("app", {"app/name": "app\n"})
        app.write_source(made.repositories / "app" / "app")
        made.commit("app", {})

    async with (
        installation(vendor=registry, prepare=prepare) as made,
        made.client() as client,
        watched(client) as ended,
    ):
        await made.apply(client, objects(registry, made))
        await ended.next_one()
        yield BuildServer("machine", lambda: made.upwell("start-build", "app"), ended), made


@asynccontextmanager
async def on_a_cluster(
    cluster: KitCluster, registry: str, made: Installation, folder: Path
) -> AsyncIterator[BuildServer]:
    """Give a server that builds in Pods, of the same repository."""
    git = made.git.rpartition("/")[2]
    pods = (
        f'[kubernetes]\nnamespaces = ["{NAMESPACE}"]\nlease-namespace = "{NAMESPACE}"\n'
        f'[kubernetes.builds]\nimage = "{IMAGE}"\n'
    )
    (folder / "upwell.toml").write_text(settings(registry, "pods", git, more=pods))
    with served(cluster.kubeconfig, folder, "--config", str(folder / "upwell.toml")) as server:
        until(server.readiness, lambda said: "role: leader" in said)
        async with (
            create_client(f"http://127.0.0.1:{server.port}") as client,
            watched(client) as ended,
        ):
            await made.apply(client, objects(registry, made))
            await ended.next_one()
            yield BuildServer("Pod", lambda: server.upwell("start-build", "app"), ended)


def objects(registry: str, made: Installation) -> str:
    repository = f"{made.git}/app"
    follows = base_stream(registry, "builder", scheduled=False)
    return follows + stream("app") + source_build("app", repository, "builder:1")


@asynccontextmanager
async def watched(client: ApiClient) -> AsyncIterator[EndedBuilds]:
    ended = EndedBuilds()
    watching = asyncio.create_task(ended.watch(client))
    try:
        yield ended
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def empty_pod_seconds(pods: ClusterBuildPods, number: int) -> float:
    """Return the seconds from the creation of a Pod of Upwell's image, of `true`, to its end."""
    container = {"name": "empty", "image": IMAGE, "command": ["true"]}
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"empty-{number}"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    began = time.perf_counter()
    pod = await pods.create(NAMESPACE, manifest)
    async with aclosing(pods.watch(pod)) as changes:
        async for now in changes:
            if now is not None and now.status.phase == "Succeeded":
                break
    seconds = time.perf_counter() - began
    await pods.delete(pod)
    return seconds


@pytest.mark.parametrize("app", [TINY, PYTHON], ids=lambda app: app.name)
async def test_a_build_in_a_pod_beside_the_same_on_this_machine(
    cluster: KitCluster, app: App, tmp_path: Path, ratios: Ratios
) -> None:
    (tmp_path / "registry").mkdir()
    serving = contextmanager(serve_registry)(tmp_path / "registry", host=host_address(cluster))
    with serving as registry:
        push_builder(app, registry, tmp_path / "builder")
        async with (
            on_this_machine(app, registry) as (machine, made),
            on_a_cluster(cluster, registry, made, tmp_path) as pod,
            cluster.client() as store,
        ):
            empty = []
            for number in range(ROUNDS):
                made.commit("app", {"app/changed": str(time.monotonic_ns())})
                for server in (machine, pod) if number % 2 else (pod, machine):
                    os.sync()  # what the one left to the disk is not the other's time
                    await server.build()
                empty.append(await empty_pod_seconds(ClusterBuildPods(store), number))
    for name, seconds in (("machine", machine.seconds), ("Pod", pod.seconds), ("empty Pod", empty)):
        print(f"\n{app.name}, {name}: {_spread(seconds)}")  # noqa: T201
    each = sorted(p / m for p, m in zip(pod.seconds, machine.seconds, strict=True))
    print(f"of the machine: {_spread(each)}")  # noqa: T201
    name = f"build of {app.name} in a Pod, time of on one machine"
    ratios.note_cost(name, statistics.median(each))


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
