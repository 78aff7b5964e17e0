"""`upwell serve --on kubernetes` with the rights that an installation gives its account."""

import asyncio
import base64
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cli.command_process import start_upwell
from tests.support.kubernetes.cluster import KitCluster
from tests.support.mutations.schema_samples import schema_samples
from tests.support.ports import free_port

from upwell.api.codec import resource_of_kind
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.manifests import Manifest, manifests

NAMESPACE = "upwell-served"
SHOP = "served-shop"
_SECONDS = 90.0


def until[T](look: Callable[[], T], holds: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + _SECONDS
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still after {_SECONDS:.0f} s: {seen}"
        time.sleep(0.1)
    return seen


def rights() -> list[Manifest]:
    """Return the namespaces, the account and the rights of a server without any feature."""
    parts = manifests(ClusterInstallation(namespace=NAMESPACE, features=frozenset()))
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}
    chosen = [name for name in parts if name not in {"definitions", "server", "admission"}]
    return [shop, *(one for name in chosen for one in parts[name])]


@pytest.fixture
def granted(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.kubectl("apply", "-f", "-", given=yaml_of(rights()))
    yield cluster
    cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of(rights()))


def account_kubeconfig(cluster: KitCluster, folder: Path) -> Path:
    """Return a kubeconfig with the token of the server's account."""
    token = until(
        lambda: cluster.kubectl(
            *("-n", NAMESPACE, "get", "secrets", "-o"),
            "jsonpath={.items[?(@.metadata.annotations.kubernetes\\.io/service-account\\.name=="
            '"upwell")].data.token}',
        ),
        bool,
    )
    document: dict[str, Any] = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"] = [{"name": "upwell", "user": {"token": _decoded(token)}}]
    context = {"cluster": document["clusters"][0]["name"], "user": "upwell"}
    document["contexts"] = [{"name": "upwell", "context": {**context, "namespace": NAMESPACE}}]
    document["current-context"] = "upwell"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@contextmanager
def served(kubeconfig: Path, folder: Path) -> Iterator[Callable[[], str]]:
    """Run the server; give what `/readyz?verbose` answers."""
    port = free_port()
    command = ["serve", "--on=kubernetes", f"--kubeconfig={kubeconfig}"]
    command += [f"--data-dir={folder / 'data'}", f"--listen=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        server = start_upwell(*command, output=log, folder=folder, environment=os.environ)
        try:
            yield lambda: _readiness(port, server.poll)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _readiness(port: int, ended: Callable[[], int | None]) -> str:
    assert ended() is None, "the server has ended"
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/readyz?verbose", timeout=10
        ) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return str(error)


def test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not(
    granted: KitCluster, tmp_path: Path
) -> None:
    lacking = next(one for one in rights() if one["metadata"]["name"] == "upwell-objects")
    rules = json.loads(json.dumps(lacking))
    for rule in rules["rules"]:
        if "builds" in rule["resources"]:
            rule["verbs"].remove("list")
    granted.kubectl("apply", "-f", "-", given=yaml_of([rules]))

    with served(account_kubeconfig(granted, tmp_path), tmp_path) as readiness:
        said = until(readiness, lambda seen: "[-]cluster-kinds" in seen)
        assert 'cannot list resource "builds"' in said
        assert "[+]role: leader" in until(readiness, lambda seen: "[+]role: leader" in seen)

        granted.kubectl("apply", "-f", "-", given=yaml_of([lacking]))
        until(readiness, lambda seen: "readyz check passed" in seen)
        # Events come when all that tells of something is listed.
        stream = {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": "app", "namespace": SHOP},
            "spec": {
                "tags": [
                    {"name": "1", "from": {"kind": "DockerImage", "name": "127.0.0.1:9/app:1"}}
                ]
            },
        }
        granted.kubectl("apply", "-f", "-", given=json.dumps(stream))
        events = ("-n", SHOP, "get", "events", "-o", "jsonpath={.items[*].involvedObject.name}")
        until(lambda: granted.kubectl(*events), lambda names: "app" in names.split())
        assert "[+]cluster-kinds ok" in readiness()
        log = (tmp_path / "log").read_text()
        refused = [
            line
            for line in log.splitlines()
            if "forbidden" in line and ".build.openshift.io" not in line
        ]
        assert refused == []
        nonsense_of_every_kind_keeps_the_server_from_nothing_else(granted, readiness)


def nonsense_of_every_kind_keeps_the_server_from_nothing_else(
    cluster: KitCluster, readiness: Callable[[], str]
) -> None:
    samples = schema_samples("nonsense", SHOP)
    try:
        asyncio.run(stored_with_status(cluster, samples))
        told = ("-n", SHOP, "get", "events", "-o")
        subjects = "jsonpath={range .items[*]}{.reason} {.involvedObject.kind}{'\\n'}{end}"
        until(lambda: cluster.kubectl(*told, subjects), lambda seen: "Failed ImageStream" in seen)
        after = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}
        tag = {"name": "1", "from": {"kind": "DockerImage", "name": "127.0.0.1:9/b:1"}}
        other = {"name": "2", "reference": True, "from": {"kind": "DockerImage", "name": "b:2"}}
        spec = {"metadata": {"name": "after", "namespace": SHOP}, "spec": {"tags": [tag, other]}}
        cluster.kubectl("apply", "-f", "-", given=json.dumps({**after, **spec}))
        recorded = ("-n", SHOP, "get", "imagestreams.image.openshift.io", "after", "-o")
        names = "jsonpath={.status.tags[*].items[*].dockerImageReference}"
        until(lambda: cluster.kubectl(*recorded, names), lambda seen: seen == "b:2")
        assert "[+]role: leader" in until(readiness, lambda seen: "readyz check passed" in seen)
    finally:
        cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of(samples))


async def stored_with_status(cluster: KitCluster, samples: list[dict[str, Any]]) -> None:
    async with cluster.client() as store:
        for sample in samples:
            kind = resource_of_kind(sample["kind"]).KIND
            place = f"namespaces/{SHOP}/{kind.plural}" if kind.namespaced else kind.plural
            path = f"/apis/{kind.api_version}/{place}"
            made = await store.send_raw("POST", path, sample)
            if kind.has_status and "status" in sample:
                whole = {**made, "status": sample["status"]}
                await store.send_raw("PUT", f"{path}/nonsense/status", whole)
