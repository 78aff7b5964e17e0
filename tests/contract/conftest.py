"""Every store, and a Kubernetes API server with our kinds, started once for all suites."""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.paths import SHARED
from tests.support.store.own_server import own_client
from tests.support.store.stores_under_test import NAMESPACE, Port, now
from tests.unit.cli.conftest import FakeClient

from upwell.api.build import Build, BuildConfig
from upwell.api.core import ConfigMap, Namespace
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.pipeline import Pipeline
from upwell.api.schemas.crds import custom_resource_definitions
from upwell.server.admission.quota import LimitedStore
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.interface import AlreadyExistsError, NotFoundError, Selector, Store
from upwell.store.kubernetes import KubernetesStore
from upwell.store.memory import MemoryStore
from upwell.store.sqlite import SqliteStore

_KIT = Path(os.environ.get("KUBE_TESTKIT") or SHARED / "kube")
_KINDS: tuple[type[Resource], ...] = (Pipeline, ConfigMap, Build, BuildConfig)


@dataclass(frozen=True)
class Cluster:
    """A running API server and how to reach it."""

    base_url: str
    token: str
    ca: str

    def client(self) -> KubernetesStore:
        return KubernetesStore(self.base_url, token=self.token, ca=self.ca)

    @asynccontextmanager
    async def store(self, namespace: str) -> AsyncIterator[KubernetesStore]:
        """Give a client and an empty namespace, and leave it empty."""
        async with self.client() as store:
            with suppress(AlreadyExistsError):
                await store.create(Namespace(metadata=ObjectMeta(name=namespace)))
            yield store
            for kind in _KINDS:
                for item in (await store.list(kind, Selector(namespace))).items:
                    await _remove(store, item)


async def _remove(store: KubernetesStore, resource: Resource) -> None:
    with suppress(NotFoundError):
        if resource.metadata.finalizers:
            await store.update(resource.with_metadata(finalizers=(), resource_version=None))
        await store.delete(type(resource), resource.namespace, resource.name)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not (_KIT / "up").exists():
        pytest.skip(f"no Kubernetes test kit in {_KIT} (set KUBE_TESTKIT)")
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian: apt install kubernetes-client)")
    folder = tmp_path_factory.mktemp("kube")
    try:
        yield _start(folder)
    finally:
        subprocess.run([_KIT / "down", "--dir", folder], check=True, capture_output=True)


def _start(folder: Path) -> Cluster:
    up = subprocess.run(
        [_KIT / "up", "--node", "none", "--dir", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if up.returncode == 3:
        pytest.skip(up.stderr)
    assert up.returncode == 0, up.stderr
    kubectl = ["kubectl", "--kubeconfig", str(folder / "kubeconfig")]
    definitions = {"apiVersion": "v1", "kind": "List", "items": custom_resource_definitions()}
    _output([*kubectl, "create", "-f", "-"], json.dumps(definitions))
    _until_established([*kubectl, "wait", "crd", "--all", "--for=condition=Established"])
    server = _output([*kubectl, "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])
    token = (folder / "token").read_text().strip()
    return Cluster(server, token, str(folder / "pki" / "ca.crt"))


def _until_established(command: list[str]) -> None:
    """Ask again while `kubectl wait` fails: it does for a definition without conditions yet."""
    deadline = time.monotonic() + 180
    while True:
        done = subprocess.run(
            [*command, "--timeout=10s"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, f"{shlex.join(command)}: {done.stderr}"


def _output(command: list[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture(
    params=[
        "memory",
        "memory within limits",
        "memory for commands",
        "sqlite",
        "server",
        "kubernetes",
    ]
)
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    match request.param:
        case "memory":
            yield Port(MemoryStore(now), settles_at_once=True)
        case "memory within limits":
            yield Port(LimitedStore(MemoryStore(now), DEFAULT_LIMITS), settles_at_once=True)
        case "memory for commands":
            yield Port(FakeClient(now), settles_at_once=True)
        case "sqlite":
            sqlite = await SqliteStore.open(tmp_path / "upwell.db", clock=now)
            yield Port(sqlite, settles_at_once=True)
            await sqlite.close()
        case "server":
            async with own_client(NAMESPACE) as client:
                yield Port(client, settles_at_once=True)
        case _:
            cluster = request.getfixturevalue("cluster")
            async with cluster.store(NAMESPACE) as kubernetes:
                yield Port(kubernetes, settles_at_once=False)


@pytest.fixture
def store(port: Port) -> Store:
    return port.store
