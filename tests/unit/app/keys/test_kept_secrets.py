"""Secrets of the data folder: made once, refused when they are not whole."""

from pathlib import Path

import pytest

from upwell.app.data_folder import DataFolderError
from upwell.app.keys.kept_secret import kept_secret

COST = "old ones are refused then"


def secret(path: Path) -> str:
    return kept_secret(path, lambda: "0123456789abcdef", COST)


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    assert secret(path) == kept_secret(path, lambda: "another", COST) == "0123456789abcdef"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"\n", b"01234567", b"\0" * 64, b"\xff" * 64, b"a b" * 9])
def test_what_is_left_of_a_secret_is_not_used(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(damage)
    with pytest.raises(DataFolderError, match=rf"signing\.key is empty or damaged.*{COST}"):
        secret(path)
    assert path.read_bytes() == damage


def test_a_secret_is_taken_away_from_others(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    secret(path)
    path.chmod(0o644)
    secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
