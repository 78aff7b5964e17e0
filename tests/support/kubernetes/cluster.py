"""Kubernetes clusters on loopback for tests, by the test kit (`KUBE_TESTKIT`), with our kinds."""

import json
import os
import shlex
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from tests.support.kubernetes.namespaces import given_namespace
from tests.support.paths import SHARED

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import ConfigMap
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.schemas.crds import custom_resource_definitions
from upwell.store.interface import NotFoundError, Selector
from upwell.store.kubernetes import KubernetesStore

KIT = Path(os.environ.get("KUBE_TESTKIT") or SHARED / "kube")
_KINDS: tuple[type[Resource], ...] = (Pipeline, ConfigMap, Build, BuildConfig)

type NodeKind = Literal["none", "hollow", "real"]
"""API alone; a node whose Pods become ready without containers; a node that runs containers."""


@dataclass(frozen=True)
class KitCluster:
    """A running API server and how to reach it."""

    base_url: str
    token: str
    ca: str
    folder: Path
    """Of the test kit: `kubeconfig`, `logs/`, and for a real node `node/`."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, by certificate; its context `admin-token` has the token."""
        return self.folder / "kubeconfig"

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl as the administrator; return what it prints."""
        return _output(["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments], given)

    def is_ready(self) -> bool:
        """Say whether the API server is there and ready (`/readyz`)."""
        context = ssl.create_default_context(cafile=self.ca)
        place, headers = urlsplit(self.base_url).netloc, {"Authorization": f"Bearer {self.token}"}
        with (
            suppress(OSError, HTTPException),
            closing(HTTPSConnection(place, timeout=60, context=context)) as connection,
        ):
            connection.request("GET", "/readyz", headers=headers)
            return connection.getresponse().status == HTTPStatus.OK
        return False

    def until_gone(self, *namespaces: str) -> None:
        """Wait until namespaces that a test before has deleted are gone; others are not there."""
        named = [f"namespace/{one}" for one in namespaces]
        self.kubectl("wait", "--for=delete", *named, "--timeout=120s")

    def until_established(self, *definitions: str) -> None:
        """Wait until definitions of kinds, as kubectl names them, are in force.

        Asks again while `kubectl wait` fails: it does for a definition without conditions yet.
        """
        kubectl = ["kubectl", "--kubeconfig", str(self.kubeconfig)]
        command = [*kubectl, "wait", *definitions, "--for=condition=Established", "--timeout=10s"]
        deadline = time.monotonic() + 180
        while True:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, f"{shlex.join(command)}: {done.stderr}"

    def load_image(self, archive: Path, name: str = "") -> str:
        """Import an image archive into the real node; return its name and digest."""
        return _output([str(KIT / "load"), str(self.folder), str(archive), *filter(None, [name])])

    def client(self) -> KubernetesStore:
        return KubernetesStore(self.base_url, token=self.token, ca=self.ca)

    @asynccontextmanager
    async def store(self, namespace: str) -> AsyncIterator[KubernetesStore]:
        """Give a client and an empty namespace, and leave it empty."""
        async with self.client() as store:
            await given_namespace(store, namespace)
            try:
                yield store
            finally:
                for kind in _KINDS:
                    for item in (await store.list(kind, Selector(namespace))).items:
                        await _remove(store, item)


@contextmanager
def started_cluster(
    folder: Path, node: NodeKind = "none", *, crds: bool = True
) -> Iterator[KitCluster]:
    """Start a cluster of its own in `folder`, with our kinds unless `crds` is false, and end it.

    Skips the test where a part of the kit is missing.
    """
    if not (KIT / "up").exists():
        pytest.skip(f"no Kubernetes test kit in {KIT} (set KUBE_TESTKIT)")
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian: apt install kubernetes-client)")
    try:
        cluster = _start(folder, node)
        if crds:
            _define_kinds(cluster)
        yield cluster
    finally:
        subprocess.run([KIT / "down", "--dir", folder], check=True, capture_output=True)


def _start(folder: Path, node: NodeKind) -> KitCluster:
    command = [str(KIT / "up"), "--node", node, "--dir", str(folder)]
    up = subprocess.run(command, capture_output=True, text=True, check=False)
    if up.returncode == 3:
        pytest.skip(up.stderr)
    assert up.returncode == 0, up.stderr
    view = ["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]
    server = _output(["kubectl", "--kubeconfig", str(folder / "kubeconfig"), *view])
    token = (folder / "token").read_text().strip()
    return KitCluster(server, token, str(folder / "pki" / "ca.crt"), folder)


def _define_kinds(cluster: KitCluster) -> None:
    definitions = {"apiVersion": "v1", "kind": "List", "items": custom_resource_definitions()}
    cluster.kubectl("create", "-f", "-", given=json.dumps(definitions))
    cluster.until_established("crd", "--all")


def _output(command: list[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout


async def _remove(store: KubernetesStore, resource: Resource) -> None:
    with suppress(NotFoundError):
        if resource.metadata.finalizers:
            await store.update(resource.with_metadata(finalizers=(), resource_version=None))
        await store.delete(type(resource), resource.namespace, resource.name)
