"""Access to clusters by kubeconfig files and by service accounts."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from upwell.server.asgi.tls import generated
from upwell.store.clusters.access import (
    ClusterAccessError,
    kubeconfig_access,
    service_account_access,
    stored_kubeconfig_access,
)

SERVER = "https://192.0.2.1:6443"


def kubeconfig(folder: Path, user: Any = None, cluster: Any = None, **others: Any) -> Path:
    path = folder / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "ours"}}
        ],
        "clusters": [{"name": "c", "cluster": cluster or {"server": SERVER}}],
        "users": [{"name": "u", "user": user or {}}],
    } | others
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token_stands_in_the_file(tmp_path: Path) -> None:
    access = kubeconfig_access(kubeconfig(tmp_path, {"token": "hunter2"}))

    assert access.server.base_url == SERVER
    assert access.server.bearer_token == "hunter2"
    assert access.namespace == "ours"
    assert "hunter2" not in repr(access.server)


def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    access = kubeconfig_access(kubeconfig(tmp_path, {"tokenFile": "token"}))
    assert access.server.bearer_token == "first"

    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").rename(tmp_path / "token")
    assert access.server.bearer_token == "second"

    (tmp_path / "token").unlink()
    assert access.server.bearer_token == "second", "a moment without the file ends nothing"


def test_certificates_stand_in_files_or_inline(tmp_path: Path) -> None:
    made = generated(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    assert made.authority is not None
    named = {"client-certificate": str(made.chain), "client-key": str(made.key)}
    inline = {
        "client-certificate-data": base64.b64encode(made.chain.read_bytes()).decode(),
        "client-key-data": base64.b64encode(made.key.read_bytes()).decode(),
    }
    authority = {"server": SERVER, "certificate-authority": str(made.authority)}

    for user in (named, inline):
        tls = kubeconfig_access(kubeconfig(tmp_path, user, authority)).server.tls
        assert tls is not None
        assert len(tls.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("user", "cluster", "why"),
    [
        ({"exec": {"command": "aws"}}, None, "logs in by exec"),
        ({"username": "a", "password": "hunter2"}, None, "logs in by username"),
        ({"token": "t", "as": "reader"}, None, "acts as another one"),
        ({"tokenFile": "none"}, None, "No such file"),
        (None, {"server": "10.0.0.1"}, "no server"),
        (None, {"server": SERVER, "certificate-authority-data": "!"}, "not base64"),
        (
            {"client-certificate-data": "aHVudGVyMg==", "client-key-data": "aHVudGVyMg=="},
            None,
            "not in PEM",
        ),
        (None, {"server": SERVER, "insecure-skip-tls-verify": True}, "gets every Secret"),
        (None, {"server": SERVER, "proxy-url": "http://proxy:3128"}, "proxy-url"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, user: dict[str, Any] | None, cluster: dict[str, Any] | None, why: str
) -> None:
    with pytest.raises(ClusterAccessError, match=why) as refused:
        kubeconfig_access(kubeconfig(tmp_path, user, cluster))

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[1]", "a: b: c", "contexts: 1"])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(ClusterAccessError, match=str(path)):
        kubeconfig_access(path)


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterAccessError, match="no context 'there'"):
        kubeconfig_access(kubeconfig(tmp_path), "there")


def test_a_pod_has_its_service_account(tmp_path: Path) -> None:
    made = generated(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    assert made.authority is not None
    (tmp_path / "ca.crt").write_bytes(made.authority.read_bytes())
    (tmp_path / "token").write_text("of the account")
    (tmp_path / "namespace").write_text("upwell-system")
    environment = {
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "6443",  # set by whoever names another way to the API server
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    }

    access = service_account_access(environment, tmp_path)

    assert access.server.base_url == "https://[fd00::1]:6443"
    assert access.server.bearer_token == "of the account"
    assert access.namespace == "upwell-system"


def test_outside_of_a_cluster_the_next_step_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClusterAccessError, match="--kubeconfig"):
        service_account_access({}, tmp_path)


def test_the_certificate_may_have_another_name(tmp_path: Path) -> None:
    cluster = {"server": SERVER, "tls-server-name": "kubernetes.example"}

    assert kubeconfig_access(kubeconfig(tmp_path, {}, cluster)).server.tls_server_name == (
        "kubernetes.example"
    )


@pytest.mark.parametrize(
    ("user", "cluster", "why"),
    [
        ({"tokenFile": "/etc/passwd"}, None, "names a file of this machine"),
        ({"client-certificate": "/x", "client-key": "/y"}, None, "names a file of this machine"),
        (None, {"server": SERVER, "certificate-authority": "/x"}, "names a file of this machine"),
        (None, {"server": "http://192.0.2.1:8080"}, "anybody in between reads"),
        ({"exec": {"command": "aws"}}, None, "logs in by exec"),
    ],
)
def test_a_stored_kubeconfig_names_nothing_of_this_machine(
    tmp_path: Path, user: dict[str, Any] | None, cluster: dict[str, Any] | None, why: str
) -> None:
    text = kubeconfig(tmp_path, user, cluster).read_text()

    with pytest.raises(ClusterAccessError, match=f"Secret ops/prod: .*{why}"):
        stored_kubeconfig_access(text, "Secret ops/prod")


def test_a_stored_kubeconfig_is_access(tmp_path: Path) -> None:
    text = kubeconfig(tmp_path, {"token": "hunter2"}).read_text()

    access = stored_kubeconfig_access(text, "Secret ops/prod")

    assert access.server.bearer_token == "hunter2"
    assert access.namespace == "ours"
