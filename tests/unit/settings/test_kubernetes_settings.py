"""The table [kubernetes] of the configuration file."""

from pathlib import Path

import pytest

from upwell.builder.interface import BuildPrivilege
from upwell.settings import (
    AccessSettings,
    FileSettings,
    KubernetesSettings,
    ServerSettings,
    SettingsError,
    read_file,
)

WHOLE = """\
image = "registry.test/upwell:1"
privilege = "root"
pull-secrets = ["pull"]
pull-policy = "Always"
service-account = "maker"
node-selector = {pool = "builds"}
tolerations = [
  {key = "builds", operator = "Exists", effect = "NoSchedule"},
  {key = "a", value = "b"},
]
requests = {cpu = "500m", memory = "1Gi"}
storage = "20Gi"
"""


def _read(folder: Path, text: str) -> FileSettings:
    path = folder / "upwell.toml"
    path.write_text(f"[kubernetes.builds]\n{text}\n")
    return read_file(path)


def test_without_an_image_no_pods_build() -> None:
    assert FileSettings().kubernetes.builds.image == ""


def test_all_about_the_pods_of_builds_is_read(tmp_path: Path) -> None:
    builds = _read(tmp_path, WHOLE).kubernetes.builds
    assert (builds.image, builds.privilege) == ("registry.test/upwell:1", BuildPrivilege.ROOT)
    assert (builds.pull_secrets, builds.pull_policy) == (("pull",), "Always")
    assert (builds.service_account, builds.node_selector) == ("maker", {"pool": "builds"})
    assert [one.document for one in builds.tolerations] == [
        {"key": "builds", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "a", "operator": "Equal", "value": "b"},
    ]
    assert (builds.requests, builds.storage) == ({"cpu": "500m", "memory": "1Gi"}, "20Gi")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('privilege = "all"', "kubernetes.builds.privilege"),
        ('requests = {cpu = "much"}', "kubernetes.builds.requests.cpu"),
        ("storage = 5", "kubernetes.builds.storage"),
        ('tolerations = [{effect = "Never"}]', r"kubernetes.builds.tolerations\[0\].effect"),
        ('tolerations = ["builds"]', r"kubernetes.builds.tolerations\[0\]"),
        ("node-selector = {pool = 1}", "kubernetes.builds.node-selector.pool"),
        ('pull-policy = "sometimes"', "kubernetes.builds.pull-policy"),
        ("images = 1", "kubernetes.builds.images"),
    ],
)
def test_what_it_cannot_be_is_refused_by_its_key(tmp_path: Path, line: str, key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        _read(tmp_path, line)


@pytest.mark.parametrize(
    ("listening", "given", "url"),
    [
        ("0.0.0.0", "", ""),
        ("10.1.2.3", "", "https://10.1.2.3:7080"),
        ("0.0.0.0", "10.1.2.3", "https://10.1.2.3:7080"),
        ("0.0.0.0", "10.1.2.3:8443", "https://10.1.2.3:8443"),
        ("0.0.0.0", "fd00::1", "https://[fd00::1]:7080"),
        ("[::]", "[fd00::1]:8443", "https://[fd00::1]:8443"),
        ("0.0.0.0", "upwell-0.upwell", "https://upwell-0.upwell:7080"),
    ],
)
def test_a_replica_says_where_others_reach_it(listening: str, given: str, url: str) -> None:
    kubernetes = KubernetesSettings().at(None, given)
    settings = ServerSettings(
        data_dir=Path("data"),
        host=listening,
        port=7080,
        access=AccessSettings(tls=True),
        kubernetes=kubernetes,
    )
    assert settings.replica_url == url


@pytest.mark.parametrize("given", ["http://10.1.2.3", "10.1.2.3:", "a b", "user@host", "host:1/x"])
def test_what_is_no_address_of_a_replica_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="not HOST or HOST:PORT"):
        KubernetesSettings().at(None, given)
