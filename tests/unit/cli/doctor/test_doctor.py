"""`upwell doctor` says what is wrong, how to mend it, and with its exit code how bad it is."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from upwell.app.hardening.served import telling_settings
from upwell.cli import main
from upwell.cli.doctor import doctor as module
from upwell.cli.doctor.doctor import Addresses, Examination
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.machine.containers_conf import ConfigurationLine, ContainersConf
from upwell.settings import ServerSettings

CONF = ContainersConf(
    (ConfigurationLine("engine", "runtime", "runc", "crun is not installed, runc is"),),
    "overlay",
    "overlayfs works on the storage folder",
)
FINE = HostCheck("git", HostCheckStatus.OK, "git version 2")
WARNED = HostCheck("cgroups", HostCheckStatus.WARN, "hybrid", "boot otherwise")
FAILED = HostCheck("podman", HostCheckStatus.FAIL, "not found\nanywhere", "apt install podman")


@pytest.mark.parametrize(
    ("checks", "code", "conclusion"),
    [
        ([FINE], 0, "Upwell can run on this machine"),
        ([FINE, WARNED], 0, "Upwell can run on this machine, with limits: cgroups"),
        ([FINE, WARNED, FAILED], 1, "Upwell cannot run on this machine: podman"),
    ],
)
def test_the_worst_finding_decides(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    checks: list[HostCheck],
    code: int,
    conclusion: str,
) -> None:
    async def examine(data_dir: Path, routes: Addresses, bucket: object) -> Examination:
        assert (data_dir, routes) == (tmp_path, (("127.0.0.1", 8000), ("127.0.0.1", 7443)))
        assert bucket is None
        return Examination(checks, CONF)

    monkeypatch.setattr(module, "examine", examine)
    done = CliRunner().invoke(
        main, ["doctor", "--data-dir", str(tmp_path), "--router=127.0.0.1:8000"]
    )

    assert (done.exit_code, done.output.splitlines()[-1]) == (code, conclusion)
    for check in checks:
        assert " ".join(check.detail.split()) in done.output
        assert f"remedy: {check.remedy}" in done.output or not check.remedy
    assert '  # crun is not installed, runc is\n  runtime = "runc"\n' in done.output


def test_the_router_is_that_of_the_server_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Addresses] = []

    async def examine(data_dir: Path, routes: Addresses, bucket: object) -> Examination:
        assert (data_dir, bucket) == (tmp_path, None)
        asked.append(routes)
        return Examination([FINE], CONF)

    monkeypatch.setattr(module, "examine", examine)
    settings = ServerSettings(
        data_dir=tmp_path, router_address="[::1]:8088", router_https_address="10.0.0.1:8443"
    )
    doctor = ["doctor", "--data-dir", str(tmp_path)]
    with telling_settings(settings):
        for options in ([], ["--router-https=127.0.0.1:9443"]):
            done = CliRunner().invoke(main, [*doctor, *options], env={"UPWELL_ROUTER": "[::]:1"})
            assert done.exit_code == 0, done.output
    CliRunner().invoke(main, doctor)
    assert asked == [
        (("::1", 8088), ("10.0.0.1", 8443)),
        (("::1", 8088), ("127.0.0.1", 9443)),
        (("127.0.0.1", 7088), ("127.0.0.1", 7443)),
    ]


def test_a_router_s_address_needs_a_port() -> None:
    done = CliRunner().invoke(main, ["doctor", "--router", "7088"])
    assert (done.exit_code, "'7088' is not HOST:PORT" in done.output) == (2, True)


def test_a_data_directory_that_cannot_be_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(
        main, ["doctor", "-o", "json"], env={"UPWELL_DATA_DIR": str(tmp_path / "file/below")}
    )

    found = json.loads(done.output)
    assert (done.exit_code, found["status"]) == (1, "fail")
    assert found["checks"][0]["name"] == "data directory"
    assert "Not a directory" in found["checks"][0]["detail"]


def test_a_real_examination_leaves_nothing(tmp_path: Path) -> None:
    # A name too long for sockets fails, so that no container is started here.
    folder = tmp_path / ("long" * 25) / "data"
    done = CliRunner().invoke(main, ["doctor", "-o", "json", "--data-dir", str(folder)])

    found = json.loads(done.output)
    checks = {check["name"]: check for check in found["checks"]}
    assert done.exit_code == 1
    assert checks["python"]["status"] == "ok"
    assert "at most" in checks["data directory"]["remedy"]
    assert "container" not in checks
    assert list(tmp_path.iterdir()) == []
