"""Account and rights of an installed server on a cluster, as its tests give and take them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.single_rights import FOLLOWERS, SERVER, SHOP, Right, without

from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.manifests import Manifest, manifests
from upwell.policy.access.roles import SYSTEM_NAMESPACE


def installed() -> list[Manifest]:
    """Return the account and all its rights."""
    parts = manifests(ClusterInstallation(namespace=SERVER))
    kept = [
        name
        for name in parts
        if name.startswith("rights") or name in {"namespace", "system-namespace"}
    ]
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}
    return [shop, *(one for name in kept for one in parts[name])]


@pytest.fixture(scope="module")
def granted(cluster: KitCluster) -> Iterator[KitCluster]:
    """Give the cluster with the account and its rights; the namespaces go with what is in them."""
    cluster.until_gone(SERVER, SHOP)
    cluster.kubectl("apply", "-f", "-", given=yaml_of(installed()))
    yield cluster
    cluster.kubectl("delete", "ingressclass", "app", "--ignore-not-found")
    kept = {("Namespace", SYSTEM_NAMESPACE)}
    gone = [one for one in installed() if (one["kind"], one["metadata"]["name"]) not in kept]
    cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of(gone))


@contextmanager
def taken(cluster: KitCluster, right: Right) -> Iterator[None]:
    """Take a right from the server for the block; it has to have it."""
    roles = [one for one in installed() if one["kind"] in {"ClusterRole", "Role"}]
    fewer = [(one, without(right, one)) for one in roles]
    changed = [(old, new) for old, new in fewer if old["rules"] != new["rules"]]
    assert changed, "no role has it"
    cluster.kubectl("replace", "-f", "-", given=yaml_of([new for _, new in changed]))
    try:
        yield
    finally:
        cluster.kubectl("replace", "-f", "-", given=yaml_of([old for old, _ in changed]))


def behind(cluster: KitCluster) -> list[str]:
    """Return the workloads that do not have the tag's image yet."""
    latest = 'jsonpath={.status.tags[?(@.tag=="latest")].items[0].dockerImageReference}'
    template = "jsonpath={.spec.template.spec.containers[0].image}"
    wanted = cluster.kubectl("-n", SHOP, "get", "imagestream.image.openshift.io/app", "-o", latest)
    images = {one: cluster.kubectl("-n", SHOP, "get", one, "-o", template) for one in FOLLOWERS}
    return [name for name, found in images.items() if found != wanted]
