"""`upwell setup` as its user calls it; nothing of this machine is changed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upwell.cli import main
from upwell.machine.setup.packages import SYSTEM_PACKAGES
from upwell.policy.setup.unit import MARK


def run(*arguments: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["setup", *(str(one) for one in arguments)], input=answer)


def test_a_dry_run_shows_the_changes_and_makes_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    done = run("--dry-run", "--data-dir", folder)
    assert done.exit_code == 0, done.output
    assert f"make the data folder: {folder}" in done.stdout
    assert done.stderr == "nothing was changed\n"
    assert not folder.exists()


@pytest.mark.parametrize("answer", ["", "n\n", "\n"])
def test_without_a_yes_nothing_is_changed(tmp_path: Path, answer: str) -> None:
    folder = tmp_path / "data"
    done = run("--data-dir", folder, answer=answer)
    assert done.exit_code == 1
    assert not folder.exists()


def test_undoing_where_nothing_is(tmp_path: Path) -> None:
    done = run("--undo", "--dry-run", "--data-dir", tmp_path / "data")
    assert done.exit_code == 0
    assert "data folder" not in done.stdout


def test_data_goes_with_undo_alone(tmp_path: Path) -> None:
    done = run("--data", "--data-dir", tmp_path)
    assert (done.exit_code, "give it with --undo" in done.stderr) == (2, True)


def test_the_unit_starts_the_program_that_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/upwell").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    for called, path in (("bin/upwell", ""), ("upwell", str(tmp_path / "bin"))):
        monkeypatch.setattr("sys.argv", [called])
        monkeypatch.setenv("PATH", path)
        assert f"ExecStart={tmp_path}/bin/upwell serve " in run("--print", "unit").stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="install systemd")
def test_systemd_takes_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upwell").touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "upwell")])
    unit = tmp_path / "upwell.service"
    unit.write_text(run("--print", "unit").stdout)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_and_the_packages_are_printed(tmp_path: Path) -> None:
    unit = run("--print", "unit", "--data-dir", tmp_path).stdout
    assert unit.startswith(MARK)
    assert f"serve --data-dir {tmp_path}\n" in unit
    packages = run("--print", "packages").stdout.split()
    assert packages == [one.name for one in SYSTEM_PACKAGES]
