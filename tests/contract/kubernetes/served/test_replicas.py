"""Two replicas answer alike: what one has signed or given out, the other one takes."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import AccountServer, served, until

from upwell.policy.access.roles import SYSTEM_NAMESPACE

NAMESPACE = "replicas"
SETTINGS = '[kubernetes]\nlease-namespace = "replicas"\nnamespaces = ["replicas"]\n'
ACCOUNT = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
ABOUT_ME = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
def namespaced(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(NAMESPACE)
    cluster.kubectl("create", "namespace", NAMESPACE)
    until(
        lambda: cluster.kubectl("-n", NAMESPACE, "get", "serviceaccounts", "-o", "name"),
        lambda seen: "default" in seen,
    )
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    # The cluster is other tests' too, and an installation refuses a namespace of tokens.
    cluster.kubectl("delete", "namespace", SYSTEM_NAMESPACE)


def replica(folder: Path) -> tuple[Path, str]:
    folder.mkdir()
    (folder / "upwell.toml").write_text(SETTINGS)
    return folder, f"--config={folder / 'upwell.toml'}"


def ask(
    server: AccountServer, path: str, document: object = None, login: str = ""
) -> tuple[int, bytes]:
    """Send a request, as the server's own user unless `login` is another authorization."""
    own = (server.folder / "data" / "admin.token").read_text().strip()
    body = None if document is None else json.dumps(document).encode()
    headers = {"Authorization": login or f"Bearer {own}", "Content-Type": "application/json"}
    url = f"http://127.0.0.1:{server.port}{path}"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers), timeout=60
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def own_registry_token(server: AccountServer, person: str) -> str:
    """Return the token that a registry client gets for a login: for one repository."""
    login = base64.b64encode(f"x:{person}".encode()).decode()
    scope = f"repository:{NAMESPACE}/app:pull"
    status, answer = ask(server, f"/v2/auth?service=upwell&scope={scope}", login=f"Basic {login}")
    assert status == 200, answer
    return str(json.loads(answer)["token"])


def public_keys(server: AccountServer) -> bytes:
    return ask(server, "/image-signing.pub")[1]


def test_what_one_replica_has_signed_the_other_one_takes(
    namespaced: KitCluster, tmp_path: Path
) -> None:
    kubeconfig = namespaced.kubeconfig
    with (
        served(kubeconfig, *replica(tmp_path / "one")) as one,
        served(kubeconfig, *replica(tmp_path / "two")) as two,
    ):
        for server in (one, two):
            until(server.readiness, lambda seen: "readyz check passed" in seen)

        status, answer = ask(one, f"{ACCOUNT}/token", {})
        assert status == 201, answer
        token = json.loads(answer)["status"]["token"]
        assert ask(two, ABOUT_ME, {}, f"Bearer {token}")[0] == 201

        person = one.upwell("token", "create", "ann", "--grant", f"viewer@{NAMESPACE}")
        given = own_registry_token(one, person.stdout.split()[-1])
        assert ask(two, "/v2/", login=f"Bearer {given}")[0] == 200

        authorities = {(at.folder / "data/tls/ca.pem").read_bytes() for at in (one, two)}
        assert len(authorities) == 1

        before = public_keys(one)
        assert public_keys(two) == before
        made = two.upwell("signing", "rotate")
        assert made.returncode == 0, made.stderr
        assert public_keys(two).decode().startswith(made.stdout.strip())
        until(lambda: public_keys(one), lambda seen: seen == public_keys(two))
        assert public_keys(one).endswith(before)
