"""`upwell encryption new-key`: a key is kept apart from what it protects."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from upwell.cli import main


@pytest.mark.parametrize("place", ["key", "keys/key", "../data/key", "link/key"])
def test_no_key_is_made_in_a_data_folder(tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    (data / "upwell.db").touch()
    (data / "link").symlink_to(data / "keys")
    result = CliRunner().invoke(main, ["encryption", "new-key", str(data / place)])
    assert result.exit_code != 0
    assert f"is in the data folder {data}" in str(result.exception) + result.output
    assert not list(tmp_path.rglob("key"))


def test_a_key_is_made_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "upwell.db").touch()
    result = CliRunner().invoke(main, ["encryption", "new-key", str(tmp_path / "key")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
