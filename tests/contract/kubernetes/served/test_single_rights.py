"""Each right to write of an installed server is taken from it by itself while it runs.

What needs it is told where people look, does not storm, and goes on when the right is given back.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.rights.granted_rights import behind, taken
from tests.support.kubernetes.rights.single_rights import (
    ASKED,
    MOST_REQUESTS,
    OF_TOKENS,
    RENEWED,
    RIGHTS,
    SERVER,
    SHARED,
    SHOP,
    TOLD_BY,
    Right,
    moved,
    objects,
)
from tests.support.kubernetes.served_cluster import (
    AccountServer,
    account_kubeconfig,
    served,
    until,
)

from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.api.meta import Kind
from upwell.cli.install.files import yaml_of


@pytest.fixture(scope="module")
def server(
    granted: KitCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AccountServer]:
    folder = tmp_path_factory.mktemp("single-rights")
    granted.kubectl("apply", "-f", "-", given=yaml_of(objects()))
    with served(account_kubeconfig(granted, SERVER, folder), folder) as running:
        until(running.readiness, lambda seen: "readyz check passed" in seen)
        moved(granted)
        releases = ("-n", SHOP, "get", "releases.upwell.dev", "-o", "name")
        until(lambda: granted.kubectl(*releases), bool)
        yield running
    granted.kubectl("delete", "clusters.upwell.dev", "walked", "--ignore-not-found")


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
@pytest.mark.parametrize("right", RIGHTS, ids=lambda one: f"{one.verb}-{one.resource}")
def test_a_right_that_goes_while_the_server_runs_is_told_and_used_when_it_is_back(
    server: AccountServer, cluster: KitCluster, right: Right
) -> None:
    log = server.folder / "log"
    since = len(log.read_text())

    def requests() -> int:
        return right.denied(log.read_text()[since:])

    def told() -> int:
        text = cluster.kubectl("-n", SHOP, "get", TOLD_BY, "-o", "json")
        return requests() if right.in_log else right.denied(text)

    with taken(cluster, right):
        right.need(cluster)
        until(told, bool)
        assert right.in_log or requests() <= MOST_REQUESTS
    seen = until(server.readiness, lambda text: "readyz check passed" in text)
    assert "[+]role: leader" in seen

    moved(cluster)
    until(lambda: behind(cluster), lambda names: not names)


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
def test_a_leader_that_may_not_renew_its_lease_says_so_and_leads_again(
    server: AccountServer, cluster: KitCluster
) -> None:
    right = RENEWED

    def stands_down(seen: str) -> bool:
        return "[-]leader-election" in seen and bool(right.denied(seen))

    until(server.readiness, lambda seen: "[+]role: leader" in seen)
    with taken(cluster, right):
        seen = until(server.readiness, stands_down)
        assert "grant update leases.coordination.k8s.io in namespace" in seen
        assert "[+]role: leader" not in seen
    until(server.readiness, lambda seen: "[+]role: leader" in seen and "check passed" in seen)


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
@pytest.mark.parametrize("right", SHARED, ids=lambda one: f"{one.verb}-{one.resource}")
def test_what_replicas_share_is_put_back_when_the_right_to_it_is_back(
    server: AccountServer, cluster: KitCluster, right: Right
) -> None:
    def told() -> str:
        return server.readiness() + cluster.kubectl("get", "clusteroperators", "-o", "json")

    def key() -> str:
        path = "jsonpath={.data.signing\\.key}"
        where = ("-n", SERVER, "get", "secret", KEYS_SECRET, "--ignore-not-found")
        return cluster.kubectl(*where, "-o", path)

    until(server.readiness, lambda seen: "[+]role: leader" in seen)
    before = key()
    with taken(cluster, right):
        right.need(cluster)
        until(told, lambda text: bool(right.denied(text)))
    until(server.readiness, lambda seen: "[+]role: leader" in seen and "check passed" in seen)
    until(key, lambda found: found == before)


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
def test_who_makes_uses_and_ends_a_token_is_told_which_right_the_server_lacks(
    server: AccountServer, cluster: KitCluster
) -> None:
    made = ("token", "create", "walked", "--grant", f"viewer@{SHOP}")
    with taken(cluster, OF_TOKENS["create"]):
        assert OF_TOKENS["create"].denied(server.upwell(*made).stderr)
    token = until(lambda: server.upwell(*made), lambda done: not done.returncode).stdout.strip()

    with taken(cluster, OF_TOKENS["update"]):
        seen = until(
            lambda: server.upwell("get", "is", "-n", SHOP, token=token),
            lambda done: not done.returncode,
        )
        assert "app" in seen.stdout, "its use is noted later"
        until(lambda: OF_TOKENS["update"].denied((server.folder / "log").read_text()), bool)

    with taken(cluster, OF_TOKENS["delete"]):
        assert OF_TOKENS["delete"].denied(server.upwell("token", "delete", "walked").stderr)
    until(lambda: server.upwell("token", "delete", "walked"), lambda done: not done.returncode)


def asked(
    server: AccountServer, method: str, kind: Kind, body: dict[str, Any] | None = None
) -> tuple[int, str]:
    """Ask the server's API for the object `asked`, as its own user; return code and answer."""
    place = f"namespaces/{SHOP}/{kind.plural}" if kind.namespaced else kind.plural
    path = f"/apis/{kind.api_version}/{place}" + ("" if method == "POST" else "/asked")
    token = (server.folder / "data" / "admin.token").read_text().strip()
    sent = "application/merge-patch+json" if method == "PATCH" else "application/json"
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": sent},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@on_demand(
    "tests/contract/kubernetes/served/test_cluster_rights.py"
    "::test_each_right_to_write_is_named_where_it_lacks_and_used_when_it_is_given"
)
@pytest.mark.parametrize("resource", ASKED)
def test_who_asks_for_what_the_server_may_not_write_is_told(
    server: AccountServer, cluster: KitCluster, resource: str
) -> None:
    model, content = ASKED[resource]
    kind = model.KIND
    metadata = {"name": "asked", **({"namespace": SHOP} if kind.namespaced else {})}
    made = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}
    edited = {"metadata": {"labels": {"asked": "yes"}}}
    for verb, method, body in (
        ("create", "POST", made),
        ("update", "PATCH", edited),
        ("delete", "DELETE", None),
    ):
        right = Right(kind.group, verb, resource, moved)
        with taken(cluster, right):
            code, answer = asked(server, method, kind, body)
            assert code == 403, answer
            assert right.denied(answer)
        until(partial(asked, server, method, kind, body), lambda found: found[0] < 400)
