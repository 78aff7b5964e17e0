"""Settings that a server tells `upwell doctor --security` while it runs."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from upwell.app.hardening.bucket import served_bucket
from upwell.app.hardening.served import SERVED, read_served, served_settings, telling_settings
from upwell.policy.access.roles import Role
from upwell.registry.hosts import RegistryHost, RegistryMirror
from upwell.settings import AccessSettings, AuditSettings, QuotaSettings, ServerSettings
from upwell.settings.bucket import BucketSettings
from upwell.settings.oidc import OidcSettings
from upwell.settings.registries import EmbeddedRegistrySettings


def test_they_are_there_while_it_runs_for_its_own_user(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path)
    assert read_served(tmp_path) is None
    with telling_settings(settings):
        assert read_served(tmp_path) == served_settings(settings)
        assert stat.S_IMODE((tmp_path / SERVED).stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


def test_those_of_a_killed_server_are_not_believed(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait(10)
    with telling_settings(ServerSettings(data_dir=tmp_path)):
        path = tmp_path / SERVED
        path.write_text(json.dumps(json.loads(path.read_text()) | {"process": child.pid}))
        assert read_served(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"process": "x"}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SERVED).write_bytes(content)
    assert read_served(tmp_path) is None


def test_a_server_that_cannot_tell_them_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / SERVED / "something").mkdir(parents=True)
    with telling_settings(ServerSettings(data_dir=tmp_path)):
        assert read_served(tmp_path) is None


def test_they_say_what_is_open() -> None:
    settings = ServerSettings(
        data_dir=Path("/data"),
        host="0.0.0.0",
        access=AccessSettings(insecure_listen=True, anonymous=Role.VIEWER, tls_names=("a",)),
        registries=(
            RegistryHost("r.corp", insecure=True),
            RegistryHost("127.0.0.1:5000", insecure=True),
            RegistryHost("hub", location="127.0.0.1:5001/hub", insecure=True),
            RegistryHost("v", mirrors=(RegistryMirror("m.corp:5000/v", insecure=True),)),
        ),
        allowed_destinations=(" LOCALHOST:80",),
        auth_files=(Path("/root/auth.json"),),
        oidc=OidcSettings(client_secret_file=Path("/etc/upwell/oidc.secret")),
        quota=QuotaSettings(namespace=("pods=3",)),
    )
    told = served_settings(settings)
    assert told.process == os.getpid()
    assert (told.on_loopback, told.tls, told.answers_any_name) == (False, False, True)
    assert (told.anonymous, told.build_network, told.isolation) == (
        "viewer",
        "isolated",
        "services",
    )
    assert told.insecure_registries == ("r.corp", "v, mirror m.corp:5000/v")
    assert told.destinations == ("localhost:80",)
    assert told.secret_files == ("/etc/upwell/oidc.secret", "/root/auth.json")
    assert told.quota == ("pods=3",)


def test_a_folder_is_told_as_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    settings = ServerSettings(data_dir=tmp_path, allowed_host_paths=(str(tmp_path / "link"),))
    assert served_settings(settings).host_paths == ("/etc",)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", ""),
        ("https://u:secret@logs.example:8443/in?key=secret", "https://logs.example:8443/in"),
        ("syslog+tls://logs.example:6514", "syslog+tls://logs.example:6514"),
        ("unix:///dev/log", "unix:///dev/log"),
    ],
)
def test_no_secret_of_the_audit_log_s_receiver_is_told(address: str, told: str) -> None:
    audit = AuditSettings.model_construct(export=address)
    settings = ServerSettings(data_dir=Path("/data"), audit=audit)
    assert served_settings(settings).audit_export == told


def test_a_bucket_is_told_without_its_credentials(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        (folder / name).write_text("secret of the bucket")
    bucket = BucketSettings(
        endpoint="http://s3.corp:9000", bucket="images", prefix="ours", credentials_file=folder
    )
    settings = ServerSettings(
        data_dir=tmp_path, embedded_registry=EmbeddedRegistrySettings(bucket=bucket)
    )
    told = served_settings(settings)
    assert served_bucket(told.registry_bucket) == bucket
    assert "secret of the bucket" not in told.model_dump_json()
    assert told.insecure_bucket == "http://s3.corp:9000"
    assert told.secret_files == tuple(str(one) for one in sorted(folder.iterdir()))
    assert served_bucket(served_settings(ServerSettings(data_dir=tmp_path)).registry_bucket) is None
