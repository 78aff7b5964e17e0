"""`upwell install kubernetes` on a real API server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until

from upwell.cli.install.bucket_secret import check_bucket_secret
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.manifests import BUCKET_FOLDER
from upwell.cli.program import main
from upwell.machine.checks import HostCheckStatus

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


def allowed(cluster: KitCluster, *asked: tuple[str, str, str, str]) -> list[bool]:
    """Return which rights the server's account has: verb, namespace, group, resource."""
    reviews = []
    for verb, namespace, group, whole in asked:
        resource, _, subresource = whole.partition("/")
        attributes = {"verb": verb, "namespace": namespace, "group": group, "resource": resource}
        spec = {
            "user": f"system:serviceaccount:{NAMESPACE}:upwell",
            "resourceAttributes": {**attributes, "subresource": subresource},
        }
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        reviews.append({**kind, "spec": spec})
    answers = ("create", "-f", "-", "-o", "jsonpath={.status.allowed} ")
    return [one == "true" for one in cluster.kubectl(*answers, given=yaml_of(reviews)).split()]


@pytest.fixture
def installed(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(NAMESPACE)
    until(lambda: bindings(cluster), lambda found: not found)  # those of tests before are going
    upwell("install", cluster, "--replicas=1")
    yield cluster
    if bindings(cluster):
        upwell("uninstall", cluster)


def test_an_installation_is_applied_changed_and_removed(installed: KitCluster) -> None:
    assert (
        allowed(
            installed,
            ("patch", "default", "apps", "deployments"),
            ("update", "default", "image.openshift.io", "imagestreams/status"),
            ("update", NAMESPACE, "coordination.k8s.io", "leases"),
            ("create", "upwell-system", "", "secrets"),
        )
        == [True] * 4
    )
    assert (
        allowed(
            installed,
            ("update", "default", "coordination.k8s.io", "leases"),
            ("update", "default", "", "secrets"),
            ("create", "default", "", "secrets"),
        )
        == [False] * 3
    )
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


def test_an_empty_key_of_a_bucket_is_none(cluster: KitCluster) -> None:
    namespace = "bucket-secret"
    settings = {
        "upwell.toml": '[embedded-registry.bucket]\nendpoint = "https://s3.example"\n'
        f'bucket = "images"\ncredentials-file = "{BUCKET_FOLDER}"\n'
    }
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": ""}
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {**of_core("ConfigMap", "upwell", namespace), "data": settings},
        {**of_core("Secret", "upwell-registry-bucket", namespace), "stringData": keys},
    ]
    cluster.until_gone(namespace)
    cluster.kubectl("apply", "-f", "-", given=yaml_of(made))
    try:
        kubectl = KubectlRunner(cluster.kubeconfig, "")
        found = check_bucket_secret(kubectl, ClusterInstallation(namespace=namespace))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    assert found is not None
    assert found.status is HostCheckStatus.FAIL
    assert "has no AWS_SECRET_ACCESS_KEY" in found.detail


def of_core(kind: str, name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }
