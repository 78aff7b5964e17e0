"""Packages that are missing, and their installation without their services."""

import os
import re
from pathlib import Path

import pytest
from tests.support.paths import ROOT

from upwell.machine.setup.packages import SYSTEM_PACKAGES, install_packages, missing_packages

APT = """\
#!/bin/sh
echo "$@" >> {log}
[ "$1" = update ] || sh {policy}; echo "policy $?" >> {log}
[ "$1" = update ] || [ ! -e {fault} ]
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an apt-get in front that writes down how it is called, and whether services start."""
    programs, policy = tmp_path / "bin", tmp_path / "usr/sbin/policy-rc.d"
    programs.mkdir()
    policy.parent.mkdir(parents=True)
    log = tmp_path / "log"
    script = APT.format(log=log, policy=policy, fault=tmp_path / "fault")
    (programs / "apt-get").write_text(script)
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return log


def said(log: Path) -> list[str]:
    return log.read_text().splitlines()


async def test_packages_are_installed_without_starting_services(log: Path, tmp_path: Path) -> None:
    done = await install_packages(["podman", "haproxy"], tmp_path)
    assert done.code == 0
    lines = said(log)
    assert lines[2].endswith("--no-install-recommends -- podman haproxy")
    assert lines[3] == "policy 101"
    assert not (tmp_path / "usr/sbin/policy-rc.d").exists()


async def test_the_owners_policy_stays(log: Path, tmp_path: Path) -> None:
    policy = tmp_path / "usr/sbin/policy-rc.d"
    policy.write_text("exit 0\n")
    (tmp_path / "fault").touch()
    assert (await install_packages(["podman"], tmp_path)).code == 1
    assert said(log)[-1] == "policy 0"
    assert policy.read_text() == "exit 0\n"


def test_a_package_is_there_with_any_of_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.machine.setup.packages._FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    names = {one.name for one in SYSTEM_PACKAGES}
    assert {"buildah", "podman", "haproxy", "runc"} <= set(missing_packages()) <= names
    for name in ("crun", "podman"):
        (tmp_path / name).touch(mode=0o755)
    assert {"runc", "podman"}.isdisjoint(missing_packages())


def test_the_image_has_what_a_server_takes() -> None:
    line = re.search(r'^ARG PACKAGES="(.*)"$', (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert line is not None
    brought_along = {"conmon"}  # by podman
    assert {one.name for one in SYSTEM_PACKAGES} - brought_along <= set(line[1].split())
