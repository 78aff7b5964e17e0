"""A server that starts without one of its rights to read says which, and the rest goes on."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.granted_rights import behind, taken
from tests.support.kubernetes.rights.read_rights import READS, ReadRight
from tests.support.kubernetes.rights.single_rights import SERVER, moved, objects
from tests.support.kubernetes.served_cluster import account_kubeconfig, served, until

from upwell.cli.install.files import yaml_of


@pytest.fixture(scope="module")
def shop(granted: KitCluster) -> KitCluster:
    """Give the cluster with what makes the server write."""
    granted.kubectl("apply", "-f", "-", given=yaml_of(objects()))
    return granted


@on_demand(
    "tests/unit/app/test_undecided_objects.py"
    "::test_pods_that_the_cluster_does_not_tell_of_are_a_kind_that_it_refuses",
    "tests/contract/kubernetes/served/test_served_cluster.py"
    "::test_what_is_installed_may_do_what_it_needs_and_says_what_it_may_not",
)
@pytest.mark.parametrize("lacking", READS, ids=lambda one: f"{one.right.verb}-{one.right.resource}")
def test_a_right_to_read_that_is_not_there_is_named_and_the_rest_goes_on(
    shop: KitCluster, tmp_path: Path, lacking: ReadRight
) -> None:
    kubeconfig = account_kubeconfig(shop, SERVER, tmp_path)
    with ExitStack() as given_back:
        given_back.enter_context(taken(shop, lacking.right))
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
                moved(shop)
                until(lambda: behind(shop), lambda names: not names)

            given_back.close()
            until(server.readiness, lambda seen: "readyz check passed" in seen)
            moved(shop)
            until(lambda: behind(shop), lambda names: not names)
