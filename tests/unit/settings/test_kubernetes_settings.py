"""The table [kubernetes] of the configuration file."""

from pathlib import Path

import pytest

from upwell.builder.interface import BuildPrivilege
from upwell.settings import FileSettings, SettingsError, read_file

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
