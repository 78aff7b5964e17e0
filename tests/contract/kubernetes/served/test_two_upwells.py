"""Two Upwells on one cluster: one that would reconcile what another does refuses; others go on."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import AccountServer, served, until

FIRST, SECOND, LEFT, RIGHT = "two-first", "two-second", "two-left", "two-right"


@pytest.fixture
def namespaces(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(FIRST, SECOND, LEFT, RIGHT)
    for name in (FIRST, SECOND, LEFT, RIGHT):
        cluster.kubectl("create", "namespace", name)
    for name in (FIRST, SECOND):
        cluster.kubectl("label", "namespace", name, "app.kubernetes.io/part-of=upwell")
    yield cluster
    cluster.kubectl("delete", "namespace", FIRST, SECOND, LEFT, RIGHT, "--wait=false")


def settings(folder: Path, lease: str, *names: str) -> str:
    """Write the settings of one that has its lease in `lease`; return the option."""
    folder.mkdir()
    text = f'[kubernetes]\nlease-namespace = "{lease}"\nnamespaces = {json.dumps(names)}\n'
    (folder / "upwell.toml").write_text(text)
    return f"--config={folder / 'upwell.toml'}"


def leads(server: AccountServer) -> bool:
    return "[+]role: leader" in server.readiness()


def rolls_out(cluster: KitCluster, namespace: str) -> None:
    container = {"name": "c", "image": "registry.test/web:1"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"app": "web"}, "template": template}
    config = {"kind": "DeploymentConfig", "apiVersion": "apps.openshift.io/v1", "spec": spec}
    config["metadata"] = {"name": "web", "namespace": namespace}
    cluster.kubectl("apply", "-f", "-", given=json.dumps(config))
    made = ("-n", namespace, "get", "replicationcontrollers", "-o", "name")
    until(lambda: cluster.kubectl(*made), bool)


@on_demand(
    "tests/unit/controller/test_leader_election.py"
    "::test_another_upwell_on_the_same_namespaces_is_refused_with_a_reason"
)
def test_one_of_two_on_the_same_namespaces_refuses_and_two_on_different_ones_go_on(
    namespaces: KitCluster, tmp_path: Path
) -> None:
    kubeconfig = namespaces.kubeconfig
    with ExitStack() as servers:
        first = tmp_path / "first"
        option = settings(first, FIRST, LEFT)
        one = servers.enter_context(served(kubeconfig, first, option))
        until(lambda: leads(one), bool)

        second = tmp_path / "second"
        both = settings(second, SECOND, LEFT, RIGHT)
        with served(kubeconfig, second, both) as refused:
            said = until(refused.readiness, lambda seen: "another Upwell" in seen)
            assert f"Lease {FIRST}/upwell" in said
            assert "readyz check failed" in said
        assert leads(one)

        third = tmp_path / "third"
        other = servers.enter_context(served(kubeconfig, third, settings(third, SECOND, RIGHT)))
        until(lambda: leads(other), bool)
        rolls_out(namespaces, LEFT)
        rolls_out(namespaces, RIGHT)
        assert leads(one)
        assert leads(other)
