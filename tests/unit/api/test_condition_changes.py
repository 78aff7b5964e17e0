from datetime import UTC, datetime, timedelta

from upwell.api.conditions import find, set_condition, without
from upwell.api.meta import Condition

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def ready(status: str, message: str = "") -> Condition:
    return Condition(type="Ready", status=status, message=message)


def test_a_new_condition_dates_from_now() -> None:
    (condition,) = set_condition((), ready("True"), NOON)

    assert condition.last_transition_time == NOON


def test_the_time_moves_only_with_the_status() -> None:
    first = set_condition((), ready("True"), NOON)

    assert set_condition(first, ready("True"), LATER) == first
    (said_more,) = set_condition(first, ready("True", "still"), LATER)
    assert (said_more.message, said_more.last_transition_time) == ("still", NOON)
    (turned,) = set_condition(first, ready("False"), LATER)
    assert turned.last_transition_time == LATER


def test_the_others_keep_their_places() -> None:
    others = (Condition(type="A", status="True"), ready("True"), Condition(type="B", status="True"))

    changed = set_condition(others, ready("False"), NOON)

    assert [condition.type for condition in changed] == ["A", "Ready", "B"]
    assert find(changed, "Ready") == changed[1]
    assert [condition.type for condition in without(changed, "Ready")] == ["A", "B"]
    assert find(changed, "C") is None
