"""The outbox: nothing twice, nothing lost, in order, through any number of ends of the process."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.delivery.envelopes import envelope

from upwell.delivery.interface import Fate, Outbox, OutboxError
from upwell.delivery.sqlite import SqliteOutbox

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CI = "uid-ci"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "deliveries.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[SqliteOutbox]:
    outbox = SqliteOutbox(path, most_pending=20, most_dead=3)
    yield outbox
    outbox.close()


def add(outbox: Outbox, *numbers: int, subject: str = "a", fate: Fate = Fate.SEND) -> int:
    return outbox.add(CI, [(envelope(n, subject), fate) for n in numbers], NOW)


def waiting(outbox: Outbox) -> list[str]:
    return [delivery.envelope.id for delivery in outbox.next_due(CI, 100)]


def test_the_oldest_of_too_many_are_given_up(outbox: SqliteOutbox) -> None:
    add(outbox, *range(25))
    stats = outbox.stats(CI)
    assert (stats.pending, stats.dead) == (20, 3)
    # The newest of the surplus; of the two before them the content is gone, the ids are not.
    assert [one.envelope.id for one in outbox.dead_letters(CI)] == ["event-2", "event-3", "event-4"]
    assert outbox.dead_letters(CI)[0].error == "too many events wait"
    assert add(outbox, 0, 1) == 0


def test_the_file_is_its_owners_alone(outbox: SqliteOutbox, path: Path) -> None:
    add(outbox, 1)
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deliveries.db"
    path.write_bytes(b"not a database, but longer than its header would be" * 20)
    with pytest.raises(OutboxError, match=r"deliveries\.db is damaged .*restore it .*or remove"):
        SqliteOutbox(path)


def test_errors_of_the_file_are_the_outboxs(outbox: SqliteOutbox) -> None:
    outbox.close()
    with pytest.raises(OutboxError) as caught:
        add(outbox, 1)
    assert isinstance(caught.value.__cause__, sqlite3.Error)


class OutboxStateMachine(RuleBasedStateMachine):
    """A receiver that may refuse, a process that may end at any time, events told again and again.

    What the receiver has must be, for each subject, what was told in that order, without a gap
    other than dead letters; only what was on its way at an end may come twice, in a row.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        self._path = Path(self._folder.name) / "deliveries.db"
        self._outbox = SqliteOutbox(self._path)
        self._told: dict[str, list[str]] = {"a": [], "b": []}
        self._received: dict[str, list[str]] = {"a": [], "b": []}
        self._dead: set[str] = set()

    @rule(subject=st.sampled_from("ab"), again=st.integers(0, 3))
    def tell(self, subject: str, again: int) -> None:
        """Tell the last events again, and a new one: a status does not forget."""
        told = self._told[subject]
        told.append(f"event-{subject}{len(told)}")
        events = [envelope(name.removeprefix("event-"), subject) for name in told[-1 - again :]]
        self._outbox.add(CI, [(one, Fate.SEND) for one in events], NOW)

    @rule(end=st.booleans())
    def deliver(self, *, end: bool) -> None:
        for delivery in self._outbox.next_due(CI, 9):
            received = self._received[delivery.envelope.subject]
            if not received or received[-1] != delivery.envelope.id:
                received.append(delivery.envelope.id)
            if end:
                self.restart()
                return
            self._outbox.delivered(delivery, NOW)

    @rule(give_up=st.booleans())
    def refuse(self, *, give_up: bool) -> None:
        for delivery in self._outbox.next_due(CI, 1):
            if give_up and self._received[delivery.envelope.subject][-1:] != [delivery.envelope.id]:
                self._outbox.dead_letter(delivery, NOW, "no")
                self._dead.add(delivery.envelope.id)
            else:
                self._outbox.postpone(delivery, NOW, "later", ())

    @rule()
    def restart(self) -> None:
        """Open the file anew without closing it first, as after `kill -9`."""
        left = self._outbox
        self._outbox = SqliteOutbox(self._path)
        left.close()

    @invariant()
    def in_order_without_gaps(self) -> None:
        for subject, received in self._received.items():
            expected = [name for name in self._told[subject] if name not in self._dead]
            assert received == expected[: len(received)]

    def teardown(self) -> None:
        while heads := self._outbox.next_due(CI, 9):
            for delivery in heads:
                self._outbox.delivered(delivery, NOW)
                received = self._received[delivery.envelope.subject]
                if received[-1:] != [delivery.envelope.id]:
                    received.append(delivery.envelope.id)
        self.in_order_without_gaps()
        assert sum(map(len, self._received.values())) + len(self._dead) == sum(
            map(len, self._told.values())
        )
        self._outbox.close()
        self._folder.cleanup()


TestCrashes = OutboxStateMachine.TestCase
TestCrashes.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
