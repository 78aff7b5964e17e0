import asyncio
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.store.interface import ExpiredError, NotFoundError, UnavailableError
from upwell.store.process_lock import LockedError
from upwell.store.sqlite import DamagedStoreError, SqliteStore


def _now() -> datetime:
    return datetime.now(UTC)


def item(name: str, text: str = "", **metadata: object) -> ConfigMap:
    meta = ObjectMeta.model_validate({"name": name, "namespace": "n", **metadata})
    return ConfigMap(metadata=meta, data={"text": text})


@asynccontextmanager
async def opened(path: Path, history_limit: int = 100) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, clock=_now, history_limit=history_limit)
    try:
        yield store
    finally:
        await store.close()


async def seen_since(store: SqliteStore, since: str, count: int) -> list[tuple[str, str]]:
    seen = []
    async with asyncio.timeout(30), aclosing(store.watch(ConfigMap, since=since)) as events:
        for _ in range(count):
            event = await anext(events)
            seen.append((event.change.value, event.resource.name))
    return seen


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upwell.db"


async def test_objects_and_versions_outlive_the_process(path: Path) -> None:
    async with opened(path) as store:
        made = await store.create(item("a", "ü", labels={"x": "y"}))
        await store.create(item("gone"))
        await store.delete(ConfigMap, "n", "gone")

    async with opened(path) as store:
        assert await store.get(ConfigMap, "n", "a") == made
        later = await store.create(item("b"))

    assert int(later.resource_version) == int(made.resource_version) + 3


async def test_versions_go_on_after_everything_was_deleted(path: Path) -> None:
    async with opened(path) as store:
        await store.create(item("a"))
        await store.delete(ConfigMap, "n", "a")
    async with opened(path) as store:
        assert (await store.create(item("a"))).resource_version == "3"


async def test_a_watch_goes_on_after_a_restart(path: Path) -> None:
    async with opened(path) as store:
        made = await store.create(item("a"))
        await store.update(made.with_metadata(labels={"x": "y"}))
        await store.delete(ConfigMap, "n", "a")
    async with opened(path) as store:
        await store.create(item("b"))

        seen = await seen_since(store, made.resource_version, 3)

    assert seen == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_the_history_that_is_kept_on_disk_is_bounded(path: Path) -> None:
    async with opened(path, history_limit=3) as store:
        for number in range(10):
            await store.create(item(f"i{number}"))
    async with opened(path, history_limit=3) as store:
        assert await seen_since(store, "7", 3) == [("ADDED", f"i{n}") for n in (7, 8, 9)]
        with pytest.raises(ExpiredError, match="resourceVersion 6"):
            await seen_since(store, "6", 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM changes").fetchone() == (3,)
    connection.close()


async def test_a_shorter_history_than_before_forgets_the_oldest(path: Path) -> None:
    async with opened(path, history_limit=10) as store:
        for number in range(5):
            await store.create(item(f"i{number}"))
    async with opened(path, history_limit=2) as store:
        assert await seen_since(store, "3", 2) == [("ADDED", "i3"), ("ADDED", "i4")]
        with pytest.raises(ExpiredError):
            await seen_since(store, "2", 1)


def _overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(offset)
        file.write(content)


def _content(path: Path) -> bytes:
    return path.read_bytes()


_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.store.sqlite import SqliteStore

async def write(store, writer):
    for number in range(1_000_000):
        meta = ObjectMeta(name=f"w{writer}-{number}", namespace="n")
        made = await store.create(ConfigMap(metadata=meta, data={"text": "x" * 500}))
        print(made.name, made.resource_version, flush=True)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(write(store, writer))

asyncio.run(main())
"""


async def _write_until_killed(path: Path, lines: int) -> dict[str, str]:
    """Return the version of each write that the child process was told of before it died."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    told = [await child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    told += (await child.stdout.read()).splitlines(keepends=True)
    assert await child.wait() == -signal.SIGKILL
    return dict(line.decode().split() for line in told if line.endswith(b"\n"))


def _outcome(events: list[tuple[str, str]]) -> set[str]:
    """Return the names of what is there after these events."""
    there: set[str] = set()
    for change, name in events:
        if change == "DELETED":
            there.discard(name)
        else:
            there.add(name)
    return there


async def test_no_acknowledged_write_is_lost_by_kill_9(path: Path) -> None:
    acknowledged: dict[str, str] = {}
    for round_ in range(3):
        told = await _write_until_killed(path, 20 + 37 * round_)
        async with opened(path, history_limit=4096) as store:
            kept = {r.name: r for r in (await store.list(ConfigMap)).items}
            acknowledged |= told

            assert {n: kept[n].resource_version for n in acknowledged} == acknowledged
            # What was written but not acknowledged may be there, whole, or not at all.
            versions = sorted(int(r.resource_version) for r in kept.values())
            assert versions == sorted(set(versions))
            events = await seen_since(store, "0", versions[-1])
            assert _outcome(events) == set(kept)
            # The next round's names are free again.
            for name in kept:
                await store.delete(ConfigMap, "n", name)
            acknowledged.clear()


async def test_a_second_process_is_refused_and_told_by_whom(path: Path) -> None:
    async with opened(path):
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()}"):
            await SqliteStore.open(path, clock=_now)
    async with opened(path):
        pass


async def test_a_killed_holder_leaves_no_lock(path: Path) -> None:
    await _write_until_killed(path, 1)

    async with opened(path) as store:
        assert (await store.list(ConfigMap)).items


@contextmanager
def _files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_refuses_writes_and_spares_what_is_there(path: Path) -> None:
    async with opened(path) as store:
        before = await store.create(item("before"))
        large = "x" * 300_000

        with _files_end_at(200_000), pytest.raises(UnavailableError, match="not written"):
            await store.create(item("large", large))

        with pytest.raises(NotFoundError):
            await store.get(ConfigMap, "n", "large")
        assert await store.get(ConfigMap, "n", "before") == before
        after = await store.create(item("large", large))
        assert await seen_since(store, before.resource_version, 1) == [("ADDED", "large")]
        assert int(after.resource_version) == int(before.resource_version) + 1
    async with opened(path) as store:
        assert [r.name for r in (await store.list(ConfigMap)).items] == ["before", "large"]


async def test_all_writes_of_a_failed_moment_fail_and_none_is_half_there(path: Path) -> None:
    async with opened(path) as store:
        with _files_end_at(200_000):
            outcomes = await asyncio.gather(
                *(store.create(item(f"i{n}", "x" * 100_000)) for n in range(8)),
                return_exceptions=True,
            )
            again = await asyncio.gather(
                *(store.create(item("same", "x" * 300_000)) for _ in range(2)),
                return_exceptions=True,
            )

        assert any(isinstance(outcome, UnavailableError) for outcome in outcomes)
        # Also the one whose name was taken by a write that never was: its verdict had no ground.
        assert all(isinstance(outcome, UnavailableError) for outcome in again)
        made = {o.name for o in outcomes if isinstance(o, ConfigMap)}
        assert {r.name for r in (await store.list(ConfigMap)).items} == made


@pytest.mark.parametrize(
    "content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    _overwrite(path, 0, content)

    with pytest.raises(DamagedStoreError, match=r"upwell\.db cannot be used"):
        await SqliteStore.open(path, clock=_now)

    assert _content(path) == content


async def test_a_damaged_page_is_found_at_the_start(path: Path) -> None:
    async with opened(path) as store:
        for number in range(100):
            await store.create(item(f"i{number}", "x" * 1000))
    _overwrite(path, 8192, b"\xff" * 4096)

    with pytest.raises(DamagedStoreError, match="restore a copy"):
        await SqliteStore.open(path, clock=_now)


async def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(DamagedStoreError, match="newer version"):
        await SqliteStore.open(path, clock=_now)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            "UPDATE objects SET kind = 'Teapot'",
            r"holds Teapot n/a, .* does not know the kind Teapot: .*`upwell delete teapot/a -n n`",
        ),
        ("UPDATE objects SET body = '{\"metadata\": 7}'", "metadata: expected an object"),
    ],
)
async def test_an_object_that_cannot_be_read_is_named(path: Path, change: str, why: str) -> None:
    async with opened(path) as store:
        await store.create(item("a"))
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()

    with pytest.raises(DamagedStoreError, match=why):
        await SqliteStore.open(path, clock=_now)


async def test_objects_of_a_kind_that_was_taken_out_go_with_the_update(path: Path) -> None:
    async with opened(path) as store:
        kept = await store.create(item("kept"))
        await store.create(item("wave"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE objects SET kind = 'Wave' WHERE name = 'wave'")
        connection.execute("UPDATE changes SET kind = 'Wave' WHERE version = 2")
        connection.execute("DROP TABLE facts")
        connection.execute("PRAGMA user_version = 1")

    async with opened(path) as store:
        listing = await store.list(ConfigMap)
        assert (listing.items, listing.resource_version) == ([kept], "2")
        with pytest.raises(ExpiredError):
            await seen_since(store, "1", 1)
        assert (await store.create(item("next"))).resource_version == "3"
        assert await seen_since(store, "2", 1) == [("ADDED", "next")]
    async with opened(path) as store:
        assert await seen_since(store, "2", 1) == [("ADDED", "next")]


async def test_a_deletion_of_an_unknown_kind_does_not_keep_the_file_shut(path: Path) -> None:
    async with opened(path) as store:
        await store.create(item("a"))
        await store.delete(ConfigMap, "n", "a")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE changes SET kind = 'Teapot'")

    async with opened(path) as store:
        assert (await store.list(ConfigMap)).resource_version == "2"


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"none/upwell\.db cannot be opened"):
        await SqliteStore.open(tmp_path / "none" / "upwell.db", clock=_now)


async def test_the_data_is_for_its_owner_alone(path: Path) -> None:
    async with opened(path) as store:
        await store.create(item("a"))
        modes = {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()}

    assert set(modes) >= {"upwell.db", "upwell.db-wal", "upwell.db.lock"}
    assert set(modes.values()) == {0}
