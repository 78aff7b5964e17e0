"""A SQLite store whose texts are sealed: nothing plain on disk, keys, rotation, interruption."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.encryption.databases import DatabaseKeys
from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import InvalidKeySourceError, KeySource, write_new_key
from upwell.store.encryption.resealing import StoreResealer
from upwell.store.interface import EVERYTHING, RejectedError, UnavailableError
from upwell.store.sqlite import DamagedStoreError, SqliteStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARK = "plain-text-mark"


def secret(name: str, value: str = MARK) -> Secret:
    return Secret(metadata=ObjectMeta(name=name, namespace="shop"), string_data={"a": value})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def key(tmp_path: Path) -> KeySource:
    return new_key(tmp_path / "one.key")


def new_key(path: Path) -> KeySource:
    write_new_key(path)
    return KeySource("file", str(path))


@asynccontextmanager
async def opened(data: Path, *keys: KeySource) -> AsyncIterator[SqliteStore]:
    keyring = Keyring(keys, data)
    store = await SqliteStore.open(data / "upwell.db", clock=lambda: NOW, keyring=keyring)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def database(data: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(data / "upwell.db", isolation_level=None)) as connection:
        yield connection


def plain_files(data: Path, text: str = MARK) -> list[str]:
    """Return the files of the folder that have a text in their bytes."""
    return [path.name for path in data.iterdir() if text.encode() in path.read_bytes()]


async def values(store: SqliteStore) -> dict[str, str]:
    listing = await store.list(Secret, EVERYTHING)
    return {one.name: one.string_data["a"] for one in listing.items}


async def test_nothing_plain_is_on_disk_while_it_serves_nor_after(
    data: Path, key: KeySource
) -> None:
    async with opened(data, key) as store:
        first = await store.create(secret("a"))
        await store.update(first.model_copy(update={"string_data": {"a": f"{MARK}-2"}}))
        await store.create(secret("gone"))
        await store.delete(Secret, "shop", "gone")
        assert plain_files(data) == []
    assert plain_files(data) == []
    async with opened(data, key) as store:
        assert await values(store) == {"a": f"{MARK}-2"}
        seen = [event async for event in first_events(store, 3)]
        assert seen[0].resource.string_data == {"a": f"{MARK}-2"}


async def first_events(store: SqliteStore, count: int) -> AsyncIterator:  # type: ignore[type-arg]
    events = store.watch(Secret, EVERYTHING, since="1")
    async for event in events:
        yield event
        count -= 1
        if not count:
            break
    await events.aclose()


async def test_what_was_plain_is_sealed_at_the_next_start_freed_pages_too(
    data: Path, key: KeySource
) -> None:
    async with opened(data) as store:
        for at in range(300):
            await store.create(secret(f"s{at}", f"{MARK}-{'x' * 2000}"))
        for at in range(200):
            await store.delete(Secret, "shop", f"s{at}")
    assert plain_files(data) == ["upwell.db"]
    async with opened(data, key) as store:
        assert len(await values(store)) == 100
        assert store.encryption.source == str(key)
        assert plain_files(data) == []
    assert plain_files(data) == []


class Dying(sqlite3.Connection):
    """A process that dies before the pages that are free are overwritten."""

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "VACUUM":
            raise KeyboardInterrupt
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


async def test_freed_pages_are_sealed_later_when_the_process_died_before(
    data: Path, key: KeySource
) -> None:
    async with opened(data) as store:
        for at in range(50):
            await store.create(secret(f"s{at}", f"{MARK}-{'x' * 2000}"))
    with database(data) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM objects WHERE name <> 's0'")
        connection.execute("DELETE FROM changes WHERE version > 1")
    path = data / "upwell.db"
    keys = DatabaseKeys(path, Keyring([key], data), StoreResealer)
    dying = sqlite3.connect(path, factory=Dying, isolation_level=None)
    with closing(dying), pytest.raises(KeyboardInterrupt):
        keys.open(dying)
    assert plain_files(data) == ["upwell.db"]
    async with opened(data, key) as store:
        assert len(await values(store)) == 1
        assert plain_files(data) == []


async def test_encryption_can_be_taken_back(data: Path, key: KeySource) -> None:
    async with opened(data, key) as store:
        await store.create(secret("a"))
    async with opened(data, KeySource("none", ""), key) as store:
        assert await values(store) == {"a": MARK}
        assert store.encryption.source == ""
    async with opened(data) as store:
        assert await values(store) == {"a": MARK}


@pytest.mark.parametrize("wrong", ["none", "another", "missing"])
async def test_a_wrong_or_missing_key_refuses_and_changes_nothing(
    data: Path, key: KeySource, tmp_path: Path, wrong: str
) -> None:
    async with opened(data, key) as store:
        await store.create(secret("a"))
    before = (data / "upwell.db").read_bytes()
    keys = {
        "none": (),
        "another": (new_key(tmp_path / "two.key"),),
        "missing": (KeySource("file", str(tmp_path / "missing.key")),),
    }[wrong]
    with pytest.raises(EncryptionKeyError, match=r"restore it from a copy|name that key"):
        async with opened(data, *keys):
            pass
    assert (data / "upwell.db").read_bytes() == before
    async with opened(data, key) as store:
        assert await values(store) == {"a": MARK}


async def test_another_key_takes_over_and_the_old_one_can_go(
    data: Path, key: KeySource, tmp_path: Path
) -> None:
    async with opened(data, key) as store:
        await store.create(secret("a"))
    second = new_key(tmp_path / "two.key")
    async with opened(data, second, key) as store:
        assert await values(store) == {"a": MARK}
    await asyncio.to_thread(Path(key.value).unlink)
    async with opened(data, second) as store:
        assert await values(store) == {"a": MARK}


async def test_a_rotation_seals_everything_anew_while_others_write(
    data: Path, key: KeySource
) -> None:
    async with opened(data, key) as store:
        for at in range(600):
            await store.create(secret(f"s{at:03}"))
        before = store.encryption.data_key
        rotating = asyncio.create_task(store.rotate())
        await asyncio.gather(*(store.create(secret(f"t{at}")) for at in range(50)), rotating)
        after = store.encryption
        assert after.data_key != before
        assert (after.is_rotating, after.rows_left) == (False, 0)
    with database(data) as connection:
        used = connection.execute(
            "SELECT DISTINCT hex(substr(body, 2, 8)) FROM objects UNION"
            " SELECT DISTINCT hex(substr(body, 2, 8)) FROM changes"
        ).fetchall()
        facts = [name for (name,) in connection.execute("SELECT name FROM facts")]
    assert used == [(after.data_key.upper(),)]
    assert [name for name in facts if name.startswith("data-key:")] == [
        f"data-key:{after.data_key}"
    ]
    async with opened(data, key) as store:
        assert len(await values(store)) == 650


async def test_an_interrupted_rotation_goes_on_at_the_next_start(
    data: Path, key: KeySource
) -> None:
    async with opened(data, key) as store:
        for at in range(600):
            await store.create(secret(f"s{at:03}"))
        before = store.encryption.data_key
        rotating = asyncio.create_task(store.rotate())
        count = 600
        while not store.encryption.rows_left:
            await store.create(secret(f"t{count}"))
            count += 1
        rotating.cancel()  # of the one who asked: the rotation itself goes on until the end
    assert kept_facts(data) == 3  # two data keys, and what says that it is under way
    async with opened(data, key) as store:
        assert store.encryption.data_key != before
        assert len(await values(store)) == count
    assert kept_facts(data) == 1


def kept_facts(data: Path) -> int:
    with database(data) as connection:
        found = connection.execute(
            "SELECT count(*) FROM facts WHERE name LIKE 'data-key:%' OR name = 'resealing'"
        )
        return int(found.fetchone()[0])


async def test_without_a_key_there_is_nothing_to_rotate(data: Path) -> None:
    async with opened(data) as store:
        with pytest.raises(RejectedError, match=r"\[encryption\] keys"):
            await store.rotate()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE objects SET body = (SELECT body FROM objects WHERE name = 'b') WHERE name = 'a'",
        "UPDATE changes SET body = (SELECT body FROM changes WHERE version = 1) WHERE version = 2",
        "UPDATE objects SET body = substr(body, 1, length(body) - 1) WHERE name = 'a'",
        "UPDATE objects SET body = '{}' WHERE name = 'a'",
        "UPDATE changes SET body = '{}' WHERE version = 2",
    ],
)
async def test_what_was_moved_or_changed_is_found(data: Path, key: KeySource, damage: str) -> None:
    async with opened(data, key) as store:
        await store.create(secret("a"))
        await store.create(secret("b", "other"))
    with database(data) as connection:
        connection.execute(damage)
    with pytest.raises(DamagedStoreError, match="an envelope"):
        async with opened(data, key):
            pass


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE objects SET body = (SELECT body FROM changes WHERE version = 1)",
        "UPDATE objects SET body = (SELECT body FROM changes WHERE version = 2)",
        "INSERT INTO objects SELECT 'Secret', 'shop', 'gone', body FROM changes WHERE version = 4",
    ],
)
async def test_an_older_text_of_the_same_object_is_found(
    data: Path, key: KeySource, damage: str
) -> None:
    async with opened(data, key) as store:
        first = await store.create(secret("a"))
        second = await store.update(first.model_copy(update={"string_data": {"a": "2"}}))
        await store.update(second.model_copy(update={"string_data": {"a": "3"}}))
        await store.create(secret("gone"))
        await store.delete(Secret, "shop", "gone")
    async with opened(data, key) as store:
        assert await values(store) == {"a": "3"}
        await store.rotate()  # which seals each text anew for the place that it has
    async with opened(data, key) as store:
        assert await values(store) == {"a": "3"}
    with database(data) as connection:
        connection.execute(damage)
    with pytest.raises(DamagedStoreError, match="has an older one than change"):
        async with opened(data, key):
            pass


async def test_a_write_that_fails_while_sealed_leaves_the_store_as_it_was(
    data: Path, key: KeySource
) -> None:
    async with opened(data, key) as store:
        await store.create(secret("a"))
        await store.close()
        with pytest.raises(UnavailableError):
            await store.create(secret("b"))
    async with opened(data, key) as store:
        assert await values(store) == {"a": MARK}


def test_a_key_in_the_data_folder_or_that_others_read_is_refused(
    data: Path, tmp_path: Path
) -> None:
    inside = new_key(data / "inside.key")
    with pytest.raises(EncryptionKeyError, match="beside what it protects"):
        inside.open(data)
    outside = new_key(tmp_path / "outside.key")
    Path(outside.value).chmod(0o644)
    with pytest.raises(EncryptionKeyError, match="chmod 600"):
        outside.open(data)
    Path(outside.value).chmod(0o600)
    Path(outside.value).write_text("c2hvcnQ=\n")
    with pytest.raises(EncryptionKeyError, match="new-key"):
        outside.open(data)
    with pytest.raises(FileExistsError):
        write_new_key(Path(outside.value))


@pytest.mark.parametrize("text", ["", "file:", "file:relative", "credential:a/b", "exec:x", "aes"])
def test_what_names_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeySourceError, match="file:/PATH"):
        KeySource.parse(text)


async def test_a_credential_of_systemd_is_a_key(
    data: Path, key: KeySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = KeySource.parse("credential:one.key")
    with pytest.raises(EncryptionKeyError, match=r"LoadCredential=one\.key"):
        credential.open(data)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with opened(data, credential) as store:
        await store.create(secret("a"))
    async with opened(data, key) as store:
        assert await values(store) == {"a": MARK}


PROGRAM = """#!/bin/sh
read -r line
case "$1" in
wrap) echo "wrapped$line" | base64 ;;
unwrap) found=$(echo "$line" | base64 -d)
  case "$found" in wrapped*) echo "${found#wrapped}" ;; *) exit 3 ;; esac ;;
esac
"""


async def test_a_program_wraps_and_unwraps(data: Path, tmp_path: Path) -> None:
    program = tmp_path / "kms"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    source = KeySource.parse(f"exec:{program}")
    async with opened(data, source) as store:
        await store.create(secret("a"))
    async with opened(data, source) as store:
        assert await values(store) == {"a": MARK}
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    with pytest.raises(EncryptionKeyError, match="exited with 1: broken"):
        async with opened(data, source):
            pass
