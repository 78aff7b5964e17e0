"""Test the parts in which replicas share an outbox."""

import zlib
from dataclasses import replace

import pytest
from tests.support.delivery.envelopes import envelope

from upwell.delivery.interface import (
    SETTLED_PERIOD,
    DeliveryTally,
    OutboxContents,
    UnsettledEvent,
)
from upwell.policy.notifications import shared_deliveries
from upwell.policy.notifications.shared_deliveries import (
    EVENT_PARTS,
    MOST_BYTES,
    SETTLED_PARTS,
    DamagedPartError,
    packed,
    part_names,
    periods_at,
    unpacked,
)

NOW = 1_780_000_000.0
BEFORE, NEWEST = periods_at(NOW)


def event(number: int) -> UnsettledEvent:
    return UnsettledEvent(
        number, "uid-ci", envelope(number, "größe/a"), "waiting", 5.5, 2, ("one",), "503", None
    )


CONTENTS = OutboxContents(
    [event(1), event(70), replace(event(2000), state="dead", settled=9.0)],
    [DeliveryTally("uid-ci", 7, 3.5)],
    {BEFORE: ["aa", "bb"], NEWEST: ["cc"]},
)


def test_parts_hold_all_that_was_packed() -> None:
    parts = packed(CONTENTS)
    assert {*parts.events, *parts.settled} <= {*part_names()}
    found = unpacked({**parts.settled, **parts.events}, NOW)
    assert found == CONTENTS
    assert parts.left_out == 0


def test_a_change_changes_few_parts() -> None:
    many = OutboxContents([event(number) for number in range(5000)], CONTENTS.tallies)
    one_more = OutboxContents([*many.events, event(5000)], CONTENTS.tallies)
    before, after = packed(many).events, packed(one_more).events
    assert [name for name in after if after[name] != before[name]] == [
        f"waiting-{5000 // 64 % EVENT_PARTS}"
    ]


def test_parts_that_have_nothing_are_empty_and_read_as_that() -> None:
    parts = packed(OutboxContents(settled={NEWEST: []}))
    assert {*parts.events.values(), *parts.settled.values()} == {b""}
    assert unpacked(parts.events, NOW) == OutboxContents([], [], {})


def test_what_was_settled_too_long_ago_is_left_out() -> None:
    old, new = (
        packed(OutboxContents(settled={period: ["one"]})).settled
        for period in (NEWEST - SETTLED_PARTS, NEWEST)
    )
    assert not unpacked(old, NOW).settled
    assert unpacked(new, NOW).settled == {NEWEST: ["one"]}


def test_periods_follow_one_another() -> None:
    assert periods_at(NOW + SETTLED_PERIOD) == (NEWEST, NEWEST + 1)


def test_a_part_has_its_earliest_events_when_there_is_no_room_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_deliveries, "MOST_BYTES", 400)
    parts = packed(OutboxContents([event(number) for number in range(40)], CONTENTS.tallies))
    found = unpacked(parts.events, NOW)
    assert parts.left_out > 0
    assert [one.number for one in found.events] == [*range(40 - parts.left_out)]
    assert all(len(one) <= 400 for one in parts.events.values())


@pytest.mark.parametrize(
    "part",
    [
        b"no zlib",
        zlib.compress(b"[]"),
        zlib.compress(b"{not json"),
        zlib.compress(b'{"events": [{"number": 1}]}'),
        zlib.compress(b'{"tallies": 5}'),
        zlib.compress(b"{}")[:-3],
        zlib.compress(b" " * (64 * MOST_BYTES) + b"{}"),
    ],
    ids=["no zlib", "a list", "no JSON", "half an event", "no list", "cut off", "a bomb"],
)
def test_a_damaged_part_is_refused(part: bytes) -> None:
    whole = packed(CONTENTS).events
    with pytest.raises(DamagedPartError) as refused:
        unpacked({**whole, "waiting-5": part}, NOW)
    assert refused.value.part == "waiting-5"
