"""Databases of other versions: older ones are brought up whole, newer ones are refused."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key
from upwell.store import migrations
from upwell.store.interface import UnavailableError
from upwell.store.migrations import MIGRATIONS
from upwell.store.sqlite import DamagedStoreError, SqliteStore

NEWEST = len(MIGRATIONS)
ADDED = ("CREATE TABLE later (x TEXT)", "INSERT INTO later VALUES ('added')")


def _now() -> datetime:
    return datetime(2026, 11, 30, tzinfo=UTC)


async def names(path: Path, *keys: KeySource) -> list[str]:
    keyring = Keyring(keys, path.parent)
    store = await SqliteStore.open(path, clock=_now, keyring=keyring)
    found = [one.name for one in (await store.list(ConfigMap)).items]
    await store.close()
    return found


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return a database that this version has written."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "upwell.db"
    store = await SqliteStore.open(path, clock=_now)
    await store.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="n")))
    await store.close()
    return path


def upgrade(monkeypatch: pytest.MonkeyPatch, *steps: tuple[str, ...]) -> None:
    """Become a version with further steps."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, *steps))


def schema(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def copies(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.glob("upwell.db.*") if "lock" not in one.name)


async def test_an_older_database_is_brought_up_and_one_version_back_is_possible(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = path.with_name(f"upwell.db.schema-{NEWEST}")
    with monkeypatch.context() as newer:
        upgrade(newer, ADDED)
        assert await names(path) == ["a"]
        assert schema(path) == NEWEST + 1
        assert copy.stat().st_mode & 0o077 == 0
        assert await names(path) == ["a"]
    assert copies(path) == [copy.name]

    with pytest.raises(DamagedStoreError, match=rf"install that version.*or put {copy.name}"):
        await names(path)
    assert schema(path) == NEWEST + 1
    copy.replace(path)
    assert await names(path) == ["a"]


async def test_an_upgrade_that_fails_half_way_leaves_the_old_one_and_is_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        upgrade(broken, ADDED, ("CREATE TABLE objects (x TEXT)",))
        with pytest.raises(UnavailableError, match="cannot be opened"):
            await names(path)
    assert schema(path) == NEWEST
    assert await names(path) == ["a"]

    upgrade(monkeypatch, ADDED, ("CREATE TABLE further (x TEXT)",))
    assert await names(path) == ["a"]
    assert schema(path) == NEWEST + 2


async def test_only_the_copy_of_the_last_upgrade_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(monkeypatch, ADDED)
    await names(path)
    upgrade(monkeypatch, ADDED, ("CREATE TABLE further (x TEXT)",))
    await names(path)
    assert copies(path) == [f"upwell.db.schema-{NEWEST + 1}"]


async def test_no_plain_copy_stays_beside_an_encrypted_database(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new_key(tmp_path / "one.key")
    key = KeySource("file", str(tmp_path / "one.key"))
    upgrade(monkeypatch, ADDED)
    await names(path)
    assert copies(path)
    assert await names(path, key) == ["a"]
    assert copies(path) == []

    upgrade(monkeypatch, ADDED, ("CREATE TABLE further (x TEXT)",))
    assert await names(path, key) == ["a"]
    assert copies(path) == [f"upwell.db.schema-{NEWEST + 1}"]


@pytest.mark.parametrize("number", range(1, NEWEST))
async def test_each_former_schema_is_taken(tmp_path: Path, number: int) -> None:
    path = tmp_path / "upwell.db"
    with closing(sqlite3.connect(path)) as connection:
        for statements in MIGRATIONS[:number]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.commit()
    assert await names(path) == []
    assert schema(path) == NEWEST
