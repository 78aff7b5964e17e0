"""Thresholds, pauses and turns of probes, on a clock that does not tick by itself."""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import ExecProbe, HttpProbe, ProbeSpec, TcpProbe
from upwell.workload.podman.api.connection import PodmanRefusedError
from upwell.workload.podman.probes import ProbeClient, ProbeCounter, ProbeResult, watch

CHECK = TcpProbe(80)


class SteppedClock:
    """Sleeping takes no time, and is noted."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def turns(counter: ProbeCounter, outcomes: Iterable[bool]) -> list[bool]:
    return [counter.count(success=outcome) for outcome in outcomes]


def test_it_takes_as_many_failures_in_a_row_as_the_threshold_says() -> None:
    counter = ProbeCounter(ProbeSpec(CHECK, failure_threshold=3), passing=True)
    assert turns(counter, [False, False, True, False, False]) == [False] * 5
    assert turns(counter, [False]) == [True]
    assert not counter.passing


def test_it_takes_as_many_successes_in_a_row_as_the_threshold_says() -> None:
    counter = ProbeCounter(ProbeSpec(CHECK, success_threshold=2), passing=False)
    assert turns(counter, [True, False, True, True]) == [False, False, False, True]
    assert counter.passing


def test_a_turn_is_reported_once() -> None:
    counter = ProbeCounter(ProbeSpec(CHECK, failure_threshold=1), passing=True)
    assert turns(counter, [False, False, True, True]) == [True, False, True, False]


def test_it_asks_often_until_the_first_success() -> None:
    counter = ProbeCounter(ProbeSpec(CHECK, period=10), passing=False)
    assert counter.pause() == 0.25
    counter.count(success=True)
    assert counter.pause() == 10
    turns(counter, [False] * 3)
    assert not counter.passing
    assert counter.pause() == 10, "it has been ready: a failing one is not asked more often"


def test_a_short_period_is_kept() -> None:
    assert ProbeCounter(ProbeSpec(CHECK, period=0.1), passing=False).pause() == 0.1


async def test_watching_calls_back_at_every_turn() -> None:
    clock = SteppedClock()
    script: Iterator[bool] = iter([False, True, True, False, False, True])
    seen: list[bool] = []

    async def attempt() -> ProbeResult:
        return ProbeResult(success=next(script, True))

    async def turned(outcome: ProbeResult) -> None:
        seen.append(outcome.success)
        if len(seen) == 3:
            raise EOFError

    counter = ProbeCounter(ProbeSpec(CHECK, period=5, failure_threshold=2), passing=False)
    with pytest.raises(EOFError):
        await watch(counter, attempt, turned, clock)
    assert seen == [True, False, True]
    assert clock.sleeps == [0.25, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("error", "conclusive"), [(RuntimeUnavailableError, False), (PodmanRefusedError, True)]
)
async def test_a_runtime_that_could_not_ask_says_nothing_of_the_container(
    error: type[RuntimeUnavailableError], *, conclusive: bool
) -> None:
    async def execute(command: tuple[str, ...]) -> tuple[int, bytes]:
        raise error(f"no {command[0]}")

    client = ProbeClient()
    outcome = await client.attempt(ProbeSpec(ExecProbe(("check",))), "127.0.0.1", execute)
    await client.close()
    assert outcome == ProbeResult(success=False, complaint="no check", conclusive=conclusive)


async def test_what_says_nothing_is_not_counted() -> None:
    outcomes = iter([False, False, True])

    async def attempt() -> ProbeResult:
        return ProbeResult(success=False, conclusive=next(outcomes))

    async def turned(outcome: ProbeResult) -> None:
        raise KeyError(outcome.conclusive)

    counter = ProbeCounter(ProbeSpec(CHECK, failure_threshold=1), passing=True)
    with pytest.raises(KeyError, match="True"):
        await watch(counter, attempt, turned, SteppedClock())
    assert counter.failures == 1


async def test_an_exit_code_is_told_with_the_output() -> None:
    async def execute(command: tuple[str, ...]) -> tuple[int, bytes]:
        return 2, b"not " + command[0].encode() + b"\xff\n"

    client = ProbeClient()
    outcome = await client.attempt(ProbeSpec(ExecProbe(("yet",))), "127.0.0.1", execute)
    await client.close()
    assert outcome == ProbeResult(success=False, complaint="exit code 2: not yet\ufffd")


@pytest.mark.parametrize("check", [TcpProbe, HttpProbe])
async def test_a_refused_connection_is_told_in_the_systems_words(
    check: type[TcpProbe | HttpProbe],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = ProbeClient()
    try:
        answer = await client.attempt(ProbeSpec(check(port=port)), "127.0.0.1", unused)
    finally:
        await client.close()
    assert answer.complaint == f"connect to 127.0.0.1:{port}: Connection refused"
    assert answer.conclusive


async def unused(command: tuple[str, ...]) -> tuple[int, bytes]:
    raise AssertionError(command)
