"""The table [waves] of the configuration file."""

from datetime import timedelta
from pathlib import Path

import pytest

from upwell.policy.waves.progress import NO_RULES
from upwell.settings import FileSettings, SettingsError, read_file


def _read(folder: Path, text: str) -> FileSettings:
    path = folder / "upwell.toml"
    path.write_text(f"[waves]\n{text}\n")
    return read_file(path)


def test_without_keys_all_go_at_once_and_nothing_stops_a_wave() -> None:
    assert FileSettings().waves.rules == NO_RULES
    assert (FileSettings().waves.rollouts, FileSettings().waves.rollouts_per_namespace) == (0, 0)


def test_shares_and_budgets_are_read(tmp_path: Path) -> None:
    text = 'canary = "5%"\ncanary-for = "10m"\nstop-at = "20%"\nrollouts = 4'
    waves = _read(tmp_path, text).waves
    assert waves.rules.canary.share == 0.05
    assert waves.rules.canary.healthy_for == timedelta(minutes=10)
    assert waves.rules.stop_share == 0.2
    assert waves.rollouts == 4


@pytest.mark.parametrize(
    "line", ['canary = "101%"', "canary = 5", 'stop-at = "a few"', "rollouts = -1"]
)
def test_what_is_no_share_is_refused_by_its_key(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match=f"waves.{line.partition(' ')[0]}"):
        _read(tmp_path, line)
