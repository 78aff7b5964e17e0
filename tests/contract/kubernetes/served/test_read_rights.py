"""A server that starts without one of its rights to read says which, and the rest goes on."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.contract.kubernetes.served.test_cluster_rights import NAMESPACE, SHOP, installed
from tests.contract.kubernetes.served.test_single_rights import behind, taken
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.read_rights import READS, ReadRight
from tests.support.kubernetes.served_cluster import account_kubeconfig, served, until
from tests.support.kubernetes.single_rights import moved, objects

from upwell.cli.install.files import yaml_of


@pytest.fixture(scope="module")
def granted(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(NAMESPACE, SHOP)
    cluster.kubectl("apply", "-f", "-", given=yaml_of(installed()))
    cluster.kubectl("apply", "-f", "-", given=yaml_of(objects()))
    yield cluster
    cluster.kubectl("delete", "ingressclass", "app", "--ignore-not-found")
    kept = {("Namespace", "upwell-system")}
    gone = [one for one in installed() if (one["kind"], one["metadata"]["name"]) not in kept]
    cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of(gone))


@on_demand(
    "tests/unit/app/test_undecided_objects.py"
    "::test_pods_that_the_cluster_does_not_tell_of_are_a_kind_that_it_refuses",
    "tests/contract/kubernetes/served/test_served_cluster.py"
    "::test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not",
)
@pytest.mark.parametrize("lacking", READS, ids=lambda one: f"{one.right.verb}-{one.right.resource}")
def test_a_right_to_read_that_is_not_there_is_named_and_the_rest_goes_on(
    granted: KitCluster, tmp_path: Path, lacking: ReadRight
) -> None:
    kubeconfig = account_kubeconfig(granted, NAMESPACE, tmp_path)
    with ExitStack() as given_back:
        given_back.enter_context(taken(granted, lacking.right))
        with served(kubeconfig, tmp_path) as server:

            def told() -> str:
                if lacking.command:
                    return server.upwell(*lacking.command).stderr
                checks = [f"[-]{lacking.check} failed"]
                return "\n".join(
                    one for one in server.readiness().splitlines() if one.startswith(tuple(checks))
                )

            until(server.readiness, lambda seen: "readyz check" in seen)
            until(told, lambda text: bool(lacking.right.denied(text)))
            if lacking.goes_on:
                until(server.readiness, lambda seen: "[+]role: leader" in seen)
                moved(granted)
                until(lambda: behind(granted), lambda names: not names)

            given_back.close()
            until(server.readiness, lambda seen: "readyz check passed" in seen)
            moved(granted)
            until(lambda: behind(granted), lambda names: not names)
