"""Decision on a HAProxy that does or does not answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.router.haproxy.liveness import (
    PATIENCE,
    PATIENCE_AT_WORK,
    PATIENCE_WHILE_LOADING,
    Answer,
    Remedy,
    next_remedy,
)
from upwell.router.haproxy.processes import HaproxyProcess

MASTER, WORKER = HaproxyProcess(10, stopped=False), HaproxyProcess(11, stopped=False)
STOPPED = HaproxyProcess(11, stopped=True)
LIVING = st.lists(st.just(MASTER), max_size=3)


@given(LIVING, st.integers(0, 20))
def test_one_that_answers_is_left_alone(processes: list[HaproxyProcess], misses: int) -> None:
    for loading in (False, True):
        assert next_remedy(Answer.GOOD, processes, misses, loading=loading) is Remedy.NOTHING


@pytest.mark.parametrize("answer", [Answer.REFUSED, Answer.SILENT])
def test_one_that_has_ended_is_started_at_once(answer: Answer) -> None:
    assert next_remedy(answer, [], 1, loading=False) is Remedy.START
    assert next_remedy(answer, [], 1, loading=True) is Remedy.WAIT, "somebody starts it right now"


def test_one_that_was_stopped_is_continued_at_once_and_killed_if_that_does_not_help() -> None:
    processes = [MASTER, STOPPED]
    assert next_remedy(Answer.SILENT, processes, 1, loading=False) is Remedy.CONTINUE
    assert next_remedy(Answer.SILENT, processes, PATIENCE + 1, loading=False) is Remedy.KILL


def test_one_that_is_silent_is_killed_when_patience_ends() -> None:
    remedies = [
        next_remedy(Answer.SILENT, [MASTER, WORKER], misses, loading=False)
        for misses in range(1, PATIENCE + 1)
    ]
    assert remedies == [*[Remedy.WAIT] * (PATIENCE - 1), Remedy.KILL]


def test_one_that_waits_for_a_processor_has_more_time_and_one_that_turns_for_ever_is_killed() -> (
    None
):
    busy = [MASTER, HaproxyProcess(11, stopped=False, at_work=True)]
    remedies = [
        next_remedy(Answer.SILENT, busy, misses, loading=False)
        for misses in range(1, PATIENCE_AT_WORK + 1)
    ]
    assert remedies == [*[Remedy.WAIT] * (PATIENCE_AT_WORK - 1), Remedy.KILL]


def test_one_that_takes_no_commands_but_lives_is_replaced() -> None:
    assert next_remedy(Answer.REFUSED, [MASTER, WORKER], PATIENCE, loading=False) is Remedy.REPLACE


@given(st.integers(1, PATIENCE_WHILE_LOADING - 1), st.sampled_from([Answer.REFUSED, Answer.SILENT]))
def test_one_that_loads_its_configuration_has_more_time(misses: int, answer: Answer) -> None:
    assert next_remedy(answer, [MASTER, WORKER], misses, loading=True) is Remedy.WAIT
