"""SQLite files that were damaged: refused, or begun anew where all can be made again."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from upwell.machine.databases import DamagedDatabaseError, open_database, open_derived

ROWS = 2000


def set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY, text TEXT)")


def rows(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM entry").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with closing(open_database(path, set_up)) as connection:
        texts = [(number, f"text {number}" * 10) for number in range(ROWS)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO entry VALUES (?, ?)", texts)
        connection.execute("COMMIT")
    return path


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, but as long as one" * 1000)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(byte ^ 0xFF for byte in content[8192:12288])
    path.write_bytes(content)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // 4096 * 4096])


DAMAGE = pytest.mark.parametrize("damage", [garbage, flipped, cut])


@DAMAGE
def test_a_damaged_file_is_refused_and_left_as_it_is(
    path: Path, damage: Callable[[Path], None]
) -> None:
    damage(path)
    before = path.read_bytes()
    with pytest.raises(DamagedDatabaseError, match=r"data\.db is damaged"):
        open_database(path, set_up)
    assert path.read_bytes() == before


@DAMAGE
def test_a_derived_file_is_begun_anew(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(path)
    with closing(open_derived(path, set_up, "the registry")) as connection:
        assert rows(connection) == 0
    assert "begun anew" in caplog.text


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"garbage" * 10_000])
def test_what_lies_beside_a_closed_file_does_no_harm(
    path: Path, ending: str, content: bytes
) -> None:
    path.with_name(path.name + ending).write_bytes(content)
    with closing(open_database(path, set_up)) as connection:
        assert rows(connection) == ROWS


def test_a_cut_journal_loses_its_end_alone(path: Path, tmp_path: Path) -> None:
    journal = path.with_name(f"{path.name}-wal")
    with closing(open_database(path, set_up)) as connection:
        for number in range(ROWS, ROWS + 100):
            connection.execute("INSERT INTO entry VALUES (?, '')", (number,))
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        whole = journal.read_bytes()
        copy.with_name("copy.db-wal").write_bytes(whole[: len(whole) // 2])
    with closing(open_database(copy, set_up)) as connection:
        assert ROWS < rows(connection) < ROWS + 100


def test_a_file_is_taken_away_from_others(path: Path) -> None:
    path.chmod(0o644)
    open_database(path, set_up).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_in_its_place_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "data.db").mkdir()
    with pytest.raises(OSError, match="it is no file: move it away"):
        open_derived(tmp_path / "data.db", set_up, "the registry")
    assert (tmp_path / "data.db").is_dir()
