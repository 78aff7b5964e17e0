"""`upwell serve --on kubernetes` with the rights that an installation gives its account."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import (
    AccountServer,
    account_kubeconfig,
    served,
    until,
)
from tests.support.mutations.schema_samples import schema_samples

from upwell.api.codec import resource_of_kind
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation, Feature
from upwell.cli.install.manifests import Manifest, manifests
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.store.interface import RejectedError
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "upwell-served"
SHOP = "served-shop"


_ASKED_FOR = {
    *("controllerrevisions", "events", "limitranges", "replicasets", "serviceaccounts"),
    "templates",
}
"""Kinds that are listed when something asks for them, and not followed."""


def denied(log: Path) -> set[str]:
    """Return the kinds that the log says may not be listed."""
    return set(re.findall(r'cannot list resource \\"(\w+)\\"', log.read_text()))


def rights(namespace: str = NAMESPACE) -> list[Manifest]:
    """Return the namespaces, the account and the rights of a server that has tokens alone."""
    features = frozenset({Feature.TOKENS})
    parts = manifests(ClusterInstallation(namespace=namespace, features=features))
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}
    chosen = [name for name in parts if name not in {"definitions", "server", "admission"}]
    return [shop, *(one for name in chosen for one in parts[name])]


@pytest.fixture
def granted(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(NAMESPACE, SHOP)
    cluster.kubectl("apply", "-f", "-", given=yaml_of(rights()))
    yield cluster
    # An installation keeps the namespace of tokens, and the next one finds it there.
    kept = ("Namespace", SYSTEM_NAMESPACE)
    others = [one for one in rights() if (one["kind"], one["metadata"]["name"]) != kept]
    cluster.kubectl(
        "delete", "--ignore-not-found", "--wait=false", "-f", "-", given=yaml_of(others)
    )


def test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not(
    granted: KitCluster, tmp_path: Path
) -> None:
    lacking = next(one for one in rights() if one["metadata"]["name"] == "upwell-objects")
    rules = json.loads(json.dumps(lacking))
    listed: set[str] = set()
    for rule in (one for one in rules["rules"] if "list" in one["verbs"]):
        rule["verbs"] = [one for one in rule["verbs"] if one != "list"] or ["get"]
        listed |= {*rule["resources"]}
    granted.kubectl("apply", "-f", "-", given=yaml_of([rules]))

    with served(account_kubeconfig(granted, NAMESPACE, tmp_path), tmp_path) as server:
        readiness = server.readiness
        said = until(readiness, lambda seen: "[-]cluster-kinds" in seen)
        assert 'cannot list resource "builds"' in said
        until(lambda: listed - _ASKED_FOR - denied(tmp_path / "log"), lambda missing: not missing)
        assert "[+]role: leader" in until(readiness, lambda seen: "[+]role: leader" in seen)
        unseen = server.upwell("prune")
        assert unseen.returncode != 0
        assert "cannot list resource" in unseen.stderr
        assert "nothing is pruned" in unseen.stderr

        granted.kubectl("apply", "-f", "-", given=yaml_of([lacking]))
        until(readiness, lambda seen: "readyz check passed" in seen)
        since = len((tmp_path / "log").read_text())
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
        refused = [line for line in log[since:].splitlines() if "forbidden" in line]
        assert refused == []
        tokens_are_made_used_and_deleted(server)
        pruned = server.upwell("prune", "--confirm")
        assert pruned.returncode == 0, pruned.stderr
        nonsense_of_every_kind_keeps_the_server_from_nothing_else(granted, readiness)


def tokens_are_made_used_and_deleted(server: AccountServer) -> None:
    made = server.upwell("token", "create", "ci", "--grant", f"viewer@{SHOP}")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert server.upwell("get", "is", "-n", SHOP, token=token).returncode == 0
    assert server.upwell("token", "delete", "ci").returncode == 0
    assert server.upwell("get", "is", "-n", SHOP, token=token).returncode != 0


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
        cluster.kubectl(
            "delete", "--ignore-not-found", "--wait=false", "-f", "-", given=yaml_of(samples)
        )


async def stored_with_status(cluster: KitCluster, samples: list[dict[str, Any]]) -> None:
    async with cluster.client() as store:
        for sample in samples:
            kind = resource_of_kind(sample["kind"]).KIND
            place = f"namespaces/{SHOP}/{kind.plural}" if kind.namespaced else kind.plural
            path = f"/apis/{kind.api_version}/{place}"
            await store.send_raw("POST", path, sample)
            if kind.has_status and "status" in sample:
                await put_status(store, f"{path}/nonsense", sample["status"])


async def put_status(store: KubernetesStore, path: str, status: Mapping[str, Any]) -> None:
    """Replace a status, though the server that is tested writes its own at the same time."""
    async with asyncio.timeout(60):
        while True:
            whole = {**await store.send_raw("GET", path), "status": status}
            try:
                await store.send_raw("PUT", f"{path}/status", whole)
            except RejectedError as error:
                if "has been modified" not in str(error):
                    raise
            else:
                return
