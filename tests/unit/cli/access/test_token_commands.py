"""token and kubeconfig: what they keep, print and refuse."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from upwell.api.core import Secret
from upwell.app.local_access import announced
from upwell.server.auth.tokens import TokenRecord, hash_of

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


async def test_the_token_is_printed_and_only_its_hash_is_kept(
    upwell_in_thread: Upwell, client: "FakeClient"
) -> None:
    made = upwell_in_thread("token", "create", "ci", "--grant", "builder@shop,bank").stdout.strip()
    secret = await client.get(Secret, "upwell-system", "token-ci")
    record = TokenRecord.of(secret)
    assert record.sha256 == hash_of(made)
    assert secret.type == "upwell.dev/token"
    assert made not in secret.model_dump_json()
    assert base64.b64encode(made.encode()).decode() not in secret.model_dump_json()


@pytest.fixture
def upwell_in_thread(upwell: Upwell) -> Upwell:
    """Run a command, which has an event loop of its own, from within a test that has one too."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - this fixture's alone

    def run(*arguments: str) -> "Result":
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(upwell, *arguments).result()

    return run


def test_tokens_are_listed_with_what_they_allow(upwell: Upwell) -> None:
    upwell("token", "create", "ci", "--grant", "builder@shop", "--expires", "2h")
    upwell("token", "create", "ada", "--grant", "viewer@*", "--grant", "admin@bank")
    upwell("token", "create", "root", "--grant", "admin@*", "--never")
    assert upwell("token", "list").stdout.splitlines() == [
        "NAME   PERSON   GRANTS                EXPIRES   USED   AGE",
        "ada    -        viewer@* admin@bank   90d       -      5m",
        "ci     -        builder@shop          120m      -      5m",
        "root   -        admin@*               -         -      5m",
    ]
    listed = json.loads(upwell("token", "list", "-o", "json").stdout)["items"]
    assert listed[1] == {
        "name": "ci",
        "grants": ["builder@shop"],
        "person": None,
        "expires": "2026-03-01T14:05:00+00:00",
        "used": None,
    }


def test_a_token_may_name_its_person(upwell: Upwell) -> None:
    upwell("token", "create", "ada-ci", "--grant", "ci@shop", "--person", "oidc:ada@example.com")
    assert "oidc:ada@example.com" in upwell("token", "list").stdout
    refused = upwell("token", "create", "eve", "--grant", "ci@shop", "--person", "system:admin")
    assert refused.exit_code == 2
    assert "are the server's own" in refused.stderr


def test_a_token_that_exists_is_named_and_kept(upwell: Upwell) -> None:
    upwell("token", "create", "ada", "--grant", "viewer@*")
    again = upwell("token", "create", "ada", "--grant", "admin@*")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == (
        "error: token/ada exists already; remove it with `upwell token delete ada`,"
        " or choose another name\n"
    )
    assert "viewer@*" in upwell("token", "list").stdout


def test_a_deleted_token_is_gone(upwell: Upwell) -> None:
    upwell("token", "create", "ci", "--grant", "viewer@*")
    assert upwell("token", "delete", "ci").stdout == "token/ci deleted\n"
    again = upwell("token", "delete", "ci")
    assert again.exit_code == 3
    assert "token/ci does not exist" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ci", "--grant", "root@shop"), "a role is one of viewer"),
        (("ci", "--grant", "admin@upwell-system"), "holds the tokens"),
        (("ci",), "--grant"),
        (("C_I", "--grant", "viewer@*"), "is not a valid name"),
        (("ci", "--grant", "viewer@*", "--expires", "soon"), "not a duration"),
        (("ci", "--grant", "viewer@*", "--for", "2h", "--never"), "exclude each other"),
    ],
)
def test_what_makes_no_token_is_refused(
    upwell: Upwell, arguments: tuple[str, ...], text: str
) -> None:
    result = upwell("token", "create", *arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


def test_a_kubeconfig_carries_token_and_authority(
    upwell: Upwell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPWELL_TOKEN", "upwell_ci_x")
    authority = tmp_path / "ca.pem"
    authority.write_text("PEM")
    path = tmp_path / "config"
    server = ("--server", "https://upwell.test:7080", "--ca", str(authority))
    assert upwell("kubeconfig", "--file", str(path), *server, "-n", "shop").exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    document = yaml.safe_load(path.read_text())
    assert document["clusters"][0]["cluster"] == {
        "server": "https://upwell.test:7080",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    assert document["users"][0]["user"] == {"token": "upwell_ci_x"}
    assert document["contexts"][0]["context"]["namespace"] == "shop"


def test_there_is_no_kubeconfig_without_a_token(upwell: Upwell) -> None:
    result = upwell("kubeconfig", "--server", "https://upwell.test")
    assert result.exit_code == 1
    assert "UPWELL_TOKEN" in result.stderr


def test_without_tls_a_kubeconfig_asks_for_it_where_the_own_server_speaks_it(
    upwell: Upwell, tmp_path: Path
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.pem"
    token.write_text("upwell_own_x\n")
    authority.write_text("PEM")
    address = "127.0.0.1:7"
    with announced([address], token, authority):
        made = upwell("kubeconfig", "--server", f"http://{address}")
    document = yaml.safe_load(made.stdout)
    assert document["clusters"][0]["cluster"] == {
        "server": f"https://{address}",
        "tls-server-name": "upwell",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    (user,) = document["users"]
    made_token = user["user"]["token"]
    (record,) = json.loads(upwell("token", "list", "-o", "json").stdout)["items"]
    assert made_token.startswith(f"upwell_{record['name']}_")
    assert record["grants"] == ["admin@*"]
    assert record["expires"] == "2026-05-30T12:05:00+00:00"


def test_a_kubeconfig_that_would_keep_its_token_back_is_refused(
    upwell: Upwell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPWELL_TOKEN", "upwell_ci_x")
    result = upwell("kubeconfig", "--server", "http://upwell.test:7080")
    assert result.exit_code == 1
    assert "kubectl sends no token to http://upwell.test:7080" in result.stderr


def test_a_new_token_as_json(upwell: Upwell) -> None:
    made = upwell("token", "create", "ci", "--grant", "builder@shop", "-o", "json")
    document = json.loads(made.stdout)
    assert (document["kind"], document["name"]) == ("CreatedToken", "ci")
    assert document["token"].startswith("upwell_ci_")
