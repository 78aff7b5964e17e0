"""A server beside a newer one, as in an upgrade: it keeps the fields that it does not know."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.granted_rights import behind
from tests.support.kubernetes.rights.single_rights import SERVER, SHOP, moved, objects
from tests.support.kubernetes.served_cluster import account_kubeconfig, served, until

from upwell.cli.install.files import yaml_of

KINDS = (
    "imagestreams.image.openshift.io",
    "deploymentconfigs.apps.openshift.io",
    "buildconfigs.build.openshift.io",
    "routes.route.openshift.io",
    "pipelines.upwell.dev",
)
PARTS = ("spec", "status")
MADE_ANEW = {("routes.route.openshift.io", "status"), ("pipelines.upwell.dev", "status")}
"""Made of other objects at each look: the newer version makes its own again when it leads."""
_PROPERTIES = "/spec/versions/0/schema/openAPIV3Schema/properties/{part}/properties/ofNewer"


@contextmanager
def newer_definitions(cluster: KitCluster) -> Iterator[None]:
    """Let the definitions be those of a newer version, which has one more field in each part."""

    def patch(operation: str) -> None:
        for kind in KINDS:
            changes = [
                {"op": operation, "path": _PROPERTIES.format(part=part)}
                | ({"value": {"type": "string"}} if operation == "add" else {})
                for part in PARTS
            ]
            cluster.kubectl("patch", "crd", kind, "--type=json", "-p", json.dumps(changes))

    patch("add")
    try:
        yield
    finally:
        patch("remove")


def fields_of(cluster: KitCluster) -> dict[tuple[str, str], str]:
    """Return the newer fields of the objects `app`, by kind and part."""
    found: dict[tuple[str, str], str] = {}
    for kind in KINDS:
        one = json.loads(cluster.kubectl("-n", SHOP, "get", kind, "app", "-o", "json"))
        found |= {(kind, part): one.get(part, {}).get("ofNewer", "") for part in PARTS}
    return found


@on_demand(
    "tests/contract/kubernetes/served/test_served_cluster.py"
    "::test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not"
)
def test_what_a_newer_version_has_written_stays_where_this_one_writes(
    granted: KitCluster, tmp_path: Path
) -> None:
    cluster = granted
    with newer_definitions(cluster):
        cluster.kubectl("apply", "-f", "-", given=yaml_of(objects()))

        def give() -> dict[tuple[str, str], str]:
            for kind in KINDS:
                where = ("-n", SHOP, "patch", kind, "app", "--type=merge", "-p")
                cluster.kubectl(*where, '{"spec": {"ofNewer": "kept"}}')
                cluster.kubectl(*where, '{"status": {"ofNewer": "kept"}}', "--subresource=status")
            return fields_of(cluster)

        wanted = dict.fromkeys(((kind, part) for kind in KINDS for part in PARTS), "kept")
        until(give, lambda found: found == wanted)  # the API server takes a moment for definitions
        with served(account_kubeconfig(cluster, SERVER, tmp_path), tmp_path) as server:
            until(server.readiness, lambda seen: "[+]role: leader" in seen)
            for _ in range(2):
                moved(cluster)
                until(lambda: behind(cluster), lambda names: not names)
            releases = ("-n", SHOP, "get", "releases.upwell.dev", "-o", "name")
            until(lambda: cluster.kubectl(*releases), lambda names: len(names.split()) > 1)
            done = server.upwell("patch", "is/app", "-n", SHOP, "-p", '{"spec": {"tags": []}}')
            assert done.returncode == 0, done.stderr
            kept = {place: text for place, text in fields_of(cluster).items() if text}
            assert kept.keys() | MADE_ANEW == wanted.keys()
