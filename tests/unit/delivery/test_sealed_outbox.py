"""An outbox whose events are sealed: nothing they say is plain on disk, whatever became of them."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upwell.delivery.interface import Envelope, Fate
from upwell.delivery.sqlite import SqliteOutbox
from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CI = "uid-ci"
MARK = "plain-text-mark"


def event(number: int) -> Envelope:
    name = f"event-{number}"
    body = f'{{"id": "{name}", "data": "{MARK}"}}'.encode()
    return Envelope(name, "dev.upwell.test", name, "info", f"{MARK} of {name}", body)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def key(tmp_path: Path) -> str:
    return new_key(tmp_path / "one.key")


def new_key(path: Path) -> str:
    write_new_key(path)
    return f"file:{path}"


@contextmanager
def opened(data: Path, *keys: str) -> Iterator[SqliteOutbox]:
    keyring = Keyring([KeySource.parse(one) for one in keys], data)
    with closing(SqliteOutbox(data / "deliveries.db", keyring=keyring)) as outbox:
        yield outbox


def fill(outbox: SqliteOutbox, *numbers: int) -> None:
    outbox.add(CI, [(event(number), Fate.SEND) for number in numbers], NOW)


def plain_files(data: Path) -> list[str]:
    return [path.name for path in sorted(data.iterdir()) if MARK.encode() in path.read_bytes()]


def waiting(outbox: SqliteOutbox) -> list[Envelope]:
    return [one.envelope for one in outbox.next_due(CI, 1000)]


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "deliveries.db", isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount


def test_nothing_that_events_say_is_plain(data: Path, key: str) -> None:
    with opened(data, key) as outbox:
        fill(outbox, 1, 2, 3)
        outbox.add(CI, [(event(4), Fate.GATHER)], NOW)
        first, second, third = outbox.next_due(CI, 3)
        outbox.postpone(first, NOW, f"{MARK}: answered 500", ())
        outbox.dead_letter(second, NOW, f"{MARK}: gave up")
        outbox.delivered(third, NOW)
        assert plain_files(data) == []
    with opened(data, key) as outbox:
        assert waiting(outbox) == [event(1)]
        assert outbox.stats(CI).trouble == f"{MARK}: answered 500"
        (dead,) = outbox.dead_letters(CI)
        assert (dead.envelope, dead.error) == (event(2), f"{MARK}: gave up")
        assert outbox.gathered(CI) == [event(4)]
    assert plain_files(data) == []


def test_what_was_plain_is_sealed_at_the_next_start_and_can_be_taken_back(
    data: Path, key: str
) -> None:
    with opened(data) as outbox:
        fill(outbox, *range(200))
        for one in outbox.next_due(CI, 50):
            outbox.delivered(one, NOW)
    assert plain_files(data) == ["deliveries.db"]
    left = [event(number) for number in range(50, 200)]
    with opened(data, key) as outbox:
        assert waiting(outbox) == left
        assert plain_files(data) == []
    assert plain_files(data) == []
    with opened(data, "none", key) as outbox:
        assert waiting(outbox) == left
    with opened(data) as outbox:
        assert waiting(outbox) == left


def test_another_key_takes_over_and_without_one_it_is_refused(
    data: Path, key: str, tmp_path: Path
) -> None:
    with opened(data, key) as outbox:
        fill(outbox, 1)
    before = (data / "deliveries.db").read_bytes()
    second = new_key(tmp_path / "two.key")
    for keys in ((), (second,)):
        with (
            pytest.raises(EncryptionKeyError, match=r"deliveries\.db is encrypted.*one\.key"),
            opened(data, *keys),
        ):
            pass
    assert (data / "deliveries.db").read_bytes() == before
    with opened(data, second, key):
        pass
    with opened(data, second) as outbox:
        assert waiting(outbox) == [event(1)]


async def under_way(outbox: SqliteOutbox) -> None:
    while not outbox.encryption_left():  # noqa: ASYNC110 - it yields to the rotation, step by step
        await asyncio.sleep(0)


async def test_a_rotation_lets_events_come_and_go(data: Path, key: str) -> None:
    with opened(data, key) as outbox:
        fill(outbox, *range(300))
        rotation = asyncio.create_task(outbox.rotate())
        await under_way(outbox)
        fill(outbox, 300)
        first = outbox.next_due(CI, 1)[0]
        outbox.postpone(first, NOW + timedelta(hours=1), MARK, ())
        await rotation
        assert outbox.encryption_left() == 0
    with closing(sqlite3.connect(data / "deliveries.db")) as connection:
        used = connection.execute("SELECT DISTINCT substr(body, 2, 8) FROM event").fetchall()
        keys = connection.execute("SELECT 1 FROM facts WHERE name LIKE 'data-key:%'").fetchall()
    assert (len(used), len(keys)) == (1, 1)
    with opened(data, key) as outbox:
        assert {one.id for one in waiting(outbox)} == {event(n).id for n in range(301)}


async def test_a_rotation_that_is_cut_off_goes_on_at_the_next_start(data: Path, key: str) -> None:
    with opened(data, key) as outbox:
        fill(outbox, *range(300))
        rotation = asyncio.create_task(outbox.rotate())
        await under_way(outbox)
        rotation.cancel()
        await asyncio.wait({rotation})
    with opened(data, key) as outbox:
        assert waiting(outbox) == [event(number) for number in range(300)]
    with closing(sqlite3.connect(data / "deliveries.db")) as connection:
        used = connection.execute("SELECT DISTINCT substr(body, 2, 8) FROM event").fetchall()
    assert len(used) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE event SET body = (SELECT body FROM event WHERE number = 2) WHERE number = 1",
        "UPDATE event SET body = message WHERE number = 1",
        "UPDATE event SET body = substr(body, 1, length(body) - 1) WHERE number = 1",
        'UPDATE event SET body = CAST(\'{"data": "forged"}\' AS BLOB) WHERE number = 1',
        "UPDATE event SET message = 'forged' WHERE number = 1",
    ],
)
def test_what_was_moved_or_put_there_is_never_sent(data: Path, key: str, damage: str) -> None:
    with opened(data, key) as outbox:
        fill(outbox, 1, 2)
    execute(data, damage)
    with opened(data, key) as outbox:
        assert waiting(outbox) == [event(2)]  # which goes on
        (dead,) = outbox.dead_letters(CI)
        assert (dead.envelope.body, dead.envelope.message) == (b"", "")
        assert "damaged" in dead.error
        assert outbox.replay(CI, None) == 1
        assert waiting(outbox) == [event(2)]
