"""Contract of outboxes: nothing twice, nothing lost, each subject in order."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import override

import pytest
from tests.support.delivery.envelopes import envelope

from upwell.delivery.interface import (
    SETTLED_LETTERS,
    SETTLED_PERIOD,
    Delivery,
    DeliveryStats,
    Envelope,
    Fate,
    Outbox,
    OutboxError,
)
from upwell.delivery.sqlite import SqliteOutbox
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
CI = "uid-ci"

type OpenOutbox = Callable[[], SqliteOutbox]


@pytest.fixture(params=["sqlite", "sealed"])
def open_outbox(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenOutbox]:
    """Open the outbox as a new process does, with what the last one left."""
    keys = []
    if request.param == "sealed":
        write_new_key(tmp_path / "key")
        keys.append(KeySource("file", str(tmp_path / "key")))
    with ExitStack() as stack:

        def opened() -> SqliteOutbox:
            data = tmp_path / "data"
            outbox = SqliteOutbox(data / "deliveries.db", keyring=Keyring(keys, data))
            stack.callback(outbox.close)
            return outbox

        yield opened


@pytest.fixture
def outbox(open_outbox: OpenOutbox) -> Outbox:
    return open_outbox()


def add(outbox: Outbox, *numbers: int, subject: str = "a", fate: Fate = Fate.SEND) -> int:
    return outbox.add(CI, [(envelope(n, subject), fate) for n in numbers], NOW)


def waiting(outbox: Outbox, subscription: str = CI) -> list[str]:
    return [delivery.envelope.id for delivery in outbox.next_due(subscription, 100)]


def head(outbox: Outbox) -> Delivery:
    return outbox.next_due(CI, 1)[0]


# contents


async def test_another_outbox_goes_on_with_its_contents(
    outbox: SqliteOutbox, tmp_path: Path
) -> None:
    add(outbox, 1, 2, 3)
    outbox.delivered(head(outbox), NOW)
    outbox.dead_letter(head(outbox), NOW, "answered 404")
    period = int(NOW.timestamp() // SETTLED_PERIOD)
    contents = outbox.contents([period])
    assert contents.settled == {period: {envelope(1).id[:SETTLED_LETTERS]}}
    other = SqliteOutbox(tmp_path / "other.db")
    try:
        other.add(CI, [(envelope(9), Fate.SEND)], NOW)
        before = other.changes
        await other.replace(contents)
        assert other.changes != before
        assert other.contents([period]) == contents
        assert waiting(other) == waiting(outbox)
        assert other.dead_letters(CI) == outbox.dead_letters(CI)
        assert (add(other, 1, 2, 3), add(other, 4)) == (0, 1)
        other.remove_old(LATER + timedelta(days=1), NOW)
        assert other.contents([period]).settled == {period: frozenset()}
    finally:
        other.close()


async def test_the_event_loop_goes_on_while_contents_are_taken_over(
    outbox: SqliteOutbox, tmp_path: Path
) -> None:
    add(outbox, 1)
    other = SqliteOutbox(tmp_path / "other.db")
    with closing(other), closing(sqlite3.connect(tmp_path / "other.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        replacing = asyncio.create_task(other.replace(outbox.contents([])))
        await asyncio.sleep(0)
        writer.rollback()  # only now can the file be written
        await replacing
        assert waiting(other) == ["event-1"]


async def test_contents_that_are_taken_over_are_whole_though_the_term_ends(
    outbox: SqliteOutbox, tmp_path: Path
) -> None:
    add(outbox, 1, 2)
    other = SqliteOutbox(tmp_path / "other.db")
    with closing(other), closing(sqlite3.connect(tmp_path / "other.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        replacing = asyncio.create_task(other.replace(outbox.contents([])))
        await asyncio.sleep(0)
        replacing.cancel()
        await asyncio.sleep(0)
        assert not replacing.done()
        writer.rollback()
        with pytest.raises(asyncio.CancelledError):
            await replacing
        assert len(other.contents([]).events) == 2


# add


def test_what_was_added_waits_and_is_due_at_once(outbox: Outbox) -> None:
    assert add(outbox, 1) == 1

    delivery = head(outbox)
    assert (delivery.subscription, delivery.envelope) == (CI, envelope(1, "a"))
    assert delivery.due <= NOW
    assert (delivery.attempts, delivery.reached) == (0, frozenset())
    assert outbox.stats(CI) == DeliveryStats(pending=1)


def test_an_event_is_kept_once_whatever_became_of_it(outbox: Outbox) -> None:
    assert add(outbox, 1, 2) == 2
    assert add(outbox, 2, 1) == 0
    outbox.delivered(head(outbox), NOW)
    outbox.dead_letter(head(outbox), NOW, "answered 404")
    assert add(outbox, 1, 2) == 0
    assert waiting(outbox) == []


def test_each_subscription_has_its_own(outbox: Outbox) -> None:
    add(outbox, 1)
    assert outbox.add("other", [(envelope(1, "a"), Fate.SEND)], NOW) == 1
    outbox.delivered(head(outbox), NOW)
    assert waiting(outbox, "other") == ["event-1"]
    assert outbox.stats("other").delivered == 0
    assert set(outbox.subscriptions()) == {CI, "other"}


def test_what_is_skipped_is_known_and_never_sent(outbox: Outbox) -> None:
    assert add(outbox, 1, fate=Fate.SKIP) == 0
    assert add(outbox, 1) == 0
    assert waiting(outbox) == []


class InterruptedEvents(list[tuple[Envelope, Fate]]):
    """Events whose last cannot be had."""

    @override
    def __iter__(self) -> Iterator[tuple[Envelope, Fate]]:
        yield from super().__iter__()
        raise ValueError("torn")


def test_all_events_are_kept_or_none(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="torn"):
        outbox.add(CI, InterruptedEvents([(envelope(1), Fate.SEND)]), NOW)
    assert waiting(outbox) == []
    assert add(outbox, 1) == 1


def test_another_process_finds_what_was_kept(open_outbox: OpenOutbox) -> None:
    first = open_outbox()
    add(first, 1, 2)
    first.postpone(head(first), LATER, "answered 500", ())

    assert waiting(open_outbox()) == ["event-1"]
    assert open_outbox().stats(CI) == DeliveryStats(pending=2, trouble="answered 500")


# next_due, delivered, postpone, retry_now


def test_a_subject_waits_for_its_earliest_event(outbox: Outbox) -> None:
    add(outbox, 1, 2, subject="a")
    add(outbox, 3, subject="b")
    assert waiting(outbox) == ["event-1", "event-3"]
    assert [one.envelope.id for one in outbox.next_due(CI, 1)] == ["event-1"]
    outbox.delivered(head(outbox), NOW)
    assert waiting(outbox) == ["event-2", "event-3"]


def test_a_failed_try_waits_and_is_counted(outbox: Outbox) -> None:
    add(outbox, 1, subject="a")
    add(outbox, 2, subject="b")
    outbox.postpone(head(outbox), LATER, "answered 500", {"x"})

    assert waiting(outbox) == ["event-2", "event-1"]
    again = outbox.next_due(CI, 9)[1]
    assert (again.due, again.attempts, again.reached) == (LATER, 1, frozenset({"x"}))
    assert outbox.stats(CI).trouble == "answered 500"


def test_what_waits_can_be_made_due_now(outbox: Outbox) -> None:
    add(outbox, 1)
    outbox.postpone(head(outbox), LATER, "answered 500", ())
    outbox.retry_now("other")
    assert head(outbox).due == LATER
    outbox.retry_now(CI)
    assert head(outbox).due <= NOW


def test_a_delivery_counts_once(outbox: Outbox) -> None:
    add(outbox, 1)
    delivery = head(outbox)
    for _ in range(2):
        outbox.delivered(delivery, NOW)
    assert outbox.stats(CI) == DeliveryStats(delivered=1, last_delivery=NOW)


def test_what_is_settled_stays_so(outbox: Outbox) -> None:
    """An answer may come late, when somebody has settled the delivery already."""
    add(outbox, 1)
    delivery = head(outbox)
    outbox.delivered(delivery, NOW)
    outbox.postpone(delivery, LATER, "answered 500", ())
    outbox.dead_letter(delivery, NOW, "answered 404")
    assert waiting(outbox) == []
    assert outbox.stats(CI) == DeliveryStats(delivered=1, last_delivery=NOW)


# dead letters


def test_a_dead_letter_lets_later_events_go_on(outbox: Outbox) -> None:
    add(outbox, 1, 2)
    outbox.postpone(head(outbox), NOW, "answered 500", ())
    outbox.dead_letter(head(outbox), LATER, "answered 404")

    assert waiting(outbox) == ["event-2"]
    [letter] = outbox.dead_letters(CI)
    assert (letter.envelope, letter.died) == (envelope(1, "a"), LATER)
    assert (letter.error, letter.attempts) == ("answered 404", 2)
    assert outbox.stats(CI) == DeliveryStats(pending=1, dead=1)


def test_dead_letters_come_back_in_their_old_order(outbox: Outbox) -> None:
    add(outbox, 1, 2, 3)
    for _ in range(2):
        outbox.dead_letter(head(outbox), NOW, "answered 404")
    assert [one.envelope.id for one in outbox.dead_letters(CI)] == ["event-1", "event-2"]

    assert outbox.replay(CI, ["no such id", "event-3"]) == 0
    assert outbox.replay(CI, ["event-2", "event-2"]) == 1
    assert waiting(outbox) == ["event-2"]
    assert outbox.replay(CI, None) == 1
    assert waiting(outbox) == ["event-1"]
    assert (head(outbox).attempts, head(outbox).due <= NOW) == (0, True)
    assert outbox.dead_letters(CI) == []


# digests


def test_a_digest_takes_what_was_gathered_once(outbox: Outbox) -> None:
    assert add(outbox, 1, 2, fate=Fate.GATHER) == 2
    assert waiting(outbox) == []
    assert outbox.stats(CI).gathered == 2
    assert [one.id for one in outbox.gathered(CI)] == ["event-1", "event-2"]
    assert outbox.digest(CI, envelope("digest", "d"), NOW)
    add(outbox, 3, fate=Fate.GATHER)
    assert not outbox.digest(CI, envelope("digest", "d"), NOW)
    assert [one.id for one in outbox.gathered(CI)] == ["event-3"]
    assert waiting(outbox) == ["event-digest"]
    assert add(outbox, 1) == 0


def test_what_was_gathered_can_be_sent_one_by_one(outbox: Outbox) -> None:
    add(outbox, 1, 2, fate=Fate.GATHER)
    outbox.release(CI)
    assert waiting(outbox) == ["event-1"]
    assert outbox.gathered(CI) == []
    assert outbox.stats(CI).pending == 2


# the end


def test_what_was_settled_goes_in_time_and_dead_letters_later(outbox: Outbox) -> None:
    add(outbox, 1, 2, 3)
    outbox.delivered(head(outbox), NOW)
    outbox.dead_letter(head(outbox), NOW, "")
    outbox.remove_old(NOW, NOW)
    assert add(outbox, 1) == 0
    later = NOW + timedelta(seconds=1)
    outbox.remove_old(later, NOW)
    assert outbox.stats(CI).dead == 1
    outbox.remove_old(later, later)
    assert outbox.stats(CI) == DeliveryStats(delivered=1, pending=1, last_delivery=NOW)


def test_nothing_is_left_of_a_subscription_that_is_gone(outbox: Outbox) -> None:
    add(outbox, 1, 2)
    delivery = head(outbox)
    outbox.delivered(delivery, NOW)
    assert set(outbox.subscriptions()) == {CI}
    outbox.forget(CI)
    assert not outbox.subscriptions()
    outbox.delivered(delivery, NOW)  # it was on its way
    assert outbox.stats(CI) == DeliveryStats()
    outbox.forget(CI)


def test_an_unknown_subscription_has_nothing(outbox: Outbox) -> None:
    assert (waiting(outbox, "none"), outbox.stats("none")) == ([], DeliveryStats())
    assert (list(outbox.dead_letters("none")), list(outbox.gathered("none"))) == ([], [])
    assert outbox.replay("none", None) == 0
    outbox.retry_now("none")
    outbox.release("none")
    assert not outbox.subscriptions()


CALLS: dict[str, Callable[[Outbox, Delivery], object]] = {
    "add": lambda outbox, _: add(outbox, 2),
    "next_due": lambda outbox, _: outbox.next_due(CI, 1),
    "delivered": lambda outbox, delivery: outbox.delivered(delivery, NOW),
    "postpone": lambda outbox, delivery: outbox.postpone(delivery, NOW, "", ()),
    "dead_letter": lambda outbox, delivery: outbox.dead_letter(delivery, NOW, ""),
    "retry_now": lambda outbox, _: outbox.retry_now(CI),
    "stats": lambda outbox, _: outbox.stats(CI),
    "dead_letters": lambda outbox, _: outbox.dead_letters(CI),
    "replay": lambda outbox, _: outbox.replay(CI, None),
    "gathered": lambda outbox, _: outbox.gathered(CI),
    "digest": lambda outbox, _: outbox.digest(CI, envelope("digest"), NOW),
    "release": lambda outbox, _: outbox.release(CI),
    "subscriptions": lambda outbox, _: outbox.subscriptions(),
    "forget": lambda outbox, _: outbox.forget(CI),
    "remove_old": lambda outbox, _: outbox.remove_old(NOW, NOW),
}
"""Every method of the port."""


@pytest.mark.parametrize("call", CALLS)
def test_an_outbox_that_cannot_be_used_says_so(open_outbox: OpenOutbox, call: str) -> None:
    outbox = open_outbox()
    add(outbox, 1)
    delivery = head(outbox)
    outbox.close()

    with pytest.raises(OutboxError) as caught:
        CALLS[call](outbox, delivery)
    assert (caught.value.reason, caught.value.retryable) == ("OutboxFailed", True)
