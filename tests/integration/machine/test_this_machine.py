"""Doctor's checks against the machine that the tests run on."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from upwell.machine.checks import (
    HostCheck,
    HostCheckStatus,
    HostPaths,
    check_container,
    check_machine,
)
from upwell.machine.containers_conf import write_containers_conf
from upwell.machine.host import read_host


@pytest.fixture
async def subject(tmp_path: Path) -> HostPaths:
    if shutil.which("podman") is None:
        pytest.skip("podman is missing: apt install podman")
    path = tmp_path / "containers.conf"
    conf = await write_containers_conf(path, tmp_path / "storage")
    host = await read_host(tmp_path / "storage")
    return HostPaths(tmp_path / "data", host, conf, path, (("127.0.0.1", 0),))


async def test_the_file_that_is_written_lets_a_container_run(subject: HostPaths) -> None:
    assert await check_container(subject) == HostCheck(
        "container", HostCheckStatus.OK, "started, answered and removed"
    )
    assert list(subject.data_dir.iterdir()) == [], "nothing is left behind"


async def test_the_file_says_what_was_decided(subject: HostPaths) -> None:
    written = tomllib.loads(subject.conf_path.read_text())
    for decision in subject.conf.decisions:
        assert written[decision.table][decision.key] == decision.value


async def test_a_runtime_that_is_not_there_is_found_out(subject: HostPaths) -> None:
    broken = subject.conf_path.with_name("broken.conf")
    broken.write_text('[engine]\nruntime = "no-such-runtime"\n')
    check = await check_container(replace(subject, conf_path=broken))
    assert check.status is HostCheckStatus.FAIL
    assert "no-such-runtime" in check.detail


async def test_every_check_that_is_not_ok_has_a_remedy(subject: HostPaths) -> None:
    checks = await check_machine(subject)
    assert {"python", "podman", "cgroups", "port 127.0.0.1:0"} <= {check.name for check in checks}
    for check in checks:
        assert bool(check.remedy) == (check.status is not HostCheckStatus.OK), check
