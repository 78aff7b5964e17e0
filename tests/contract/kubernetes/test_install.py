"""`upwell install kubernetes` on a real API server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.kubernetes.cluster import KitCluster

from upwell.cli.program import main

NAMESPACE = "upwell-installed"


def upwell(verb: str, cluster: KitCluster, *options: str) -> Result:
    command = [verb, "kubernetes", f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}"]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    return done


def bindings(cluster: KitCluster) -> set[str]:
    selected = ("-A", "-l", "app.kubernetes.io/part-of=upwell", "-o", "json")
    found: dict[str, Any] = json.loads(
        cluster.kubectl("get", "clusterrolebindings,rolebindings", *selected)
    )
    return {
        f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        for one in found["items"]
    }


def may(
    cluster: KitCluster, verb: str, namespace: str, group: str, resource: str, subresource: str = ""
) -> bool:
    """Return whether the server's account has a right."""
    asked = {"verb": verb, "namespace": namespace, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:upwell",
            "resourceAttributes": {**asked, "subresource": subresource},
        },
    }
    allowed = ("create", "-f", "-", "-o", "jsonpath={.status.allowed}")
    return cluster.kubectl(*allowed, given=json.dumps(review)) == "true"


@pytest.fixture
def installed(cluster: KitCluster) -> Iterator[KitCluster]:
    upwell("install", cluster, "--replicas=1")
    yield cluster
    upwell("uninstall", cluster)


def test_an_installation_is_applied_changed_and_removed(installed: KitCluster) -> None:
    statuses = ("image.openshift.io", "imagestreams", "status")
    assert may(installed, "patch", "default", "apps", "deployments")
    assert may(installed, "update", "default", *statuses)
    assert not may(installed, "update", "default", "coordination.k8s.io", "leases")
    assert may(installed, "update", NAMESPACE, "coordination.k8s.io", "leases")
    assert not may(installed, "update", "default", "", "secrets")
    assert not may(installed, "create", "default", "", "secrets")
    assert may(installed, "create", "upwell-system", "", "secrets")
    types = "jsonpath={.items[*].status.conditions[*].type}"
    conditions = installed.kubectl("get", "crd", "-o", types)
    assert "NonStructuralSchema" not in conditions

    # Rights that another choice does not give are taken back.
    upwell("install", installed, "--watch-namespace=default", "--without=builds")
    assert bindings(installed) == {
        "/upwell-cluster",
        f"{NAMESPACE}/upwell-leader",
        "upwell-system/upwell-system",
        "upwell-system/upwell-tokens",
        "default/upwell-objects",
        "default/upwell-routes",
        "default/upwell-workloads",
    }

    upwell("uninstall", installed)
    assert bindings(installed) == set()
    assert installed.kubectl("get", "crd", "builds.build.openshift.io", "-o", "name")
