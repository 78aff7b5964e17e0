import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from tests.support.clocks import SecondsClock

from upwell.registry.budget import (
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    MOST_UNANSWERED,
    PULL_PAUSE,
    RequestBudget,
)
from upwell.registry.errors import RateLimitedError, RegistryUnavailableError
from upwell.registry.hosts import RegistryLimits

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
HUB = "docker.io"


@pytest.fixture
def clock() -> SecondsClock:
    return SecondsClock(START)


@pytest.fixture
def budget(clock: SecondsClock) -> RequestBudget:
    return RequestBudget(clock=clock, jitter=lambda: 0.0)


def test_one_429_closes_the_gate_for_all_callers_until_it_is_over(
    budget: RequestBudget, clock: SecondsClock
) -> None:
    assert isinstance(budget.observe(HUB, 429, {"retry-after": "30"}), RateLimitedError)
    clock.now += 10
    with pytest.raises(RateLimitedError) as caught:
        budget.check(HUB)
    assert caught.value.retry_after == 20
    budget.check("quay.io")
    assert budget.closings() == {HUB: True, "quay.io": False}
    clock.now += 20
    budget.check(HUB)
    assert budget.closings() == {HUB: False, "quay.io": False}


def test_a_503_closes_it_as_unavailable(budget: RequestBudget) -> None:
    budget.observe(HUB, 503, {"retry-after": "5"})
    with pytest.raises(RegistryUnavailableError) as caught:
        budget.check(HUB)
    assert caught.value.retry_after == 5


def test_retry_after_may_be_a_date(budget: RequestBudget, clock: SecondsClock) -> None:
    date = format_datetime(datetime.fromtimestamp(clock.now + 90, UTC), usegmt=True)
    error = budget.observe(HUB, 429, {"retry-after": date})
    assert error is not None
    assert error.retry_after == 90


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0),
        ("999999999", LONGEST_RETRY_AFTER),
        ("soon", 2.0),
        ("-5", 2.0),
        ("", 2.0),
        ("9" * 400, 2.0),
    ],
)
def test_odd_values_of_retry_after(budget: RequestBudget, text: str, seconds: float) -> None:
    error = budget.observe(HUB, 429, {"retry-after": text})
    assert error is not None
    assert error.retry_after == seconds


def test_unstated_pauses_double_up_to_a_minute_and_start_anew_after_success(
    budget: RequestBudget, clock: SecondsClock
) -> None:
    pauses = []
    for _ in range(8):
        error = budget.observe(HUB, 429, {})
        assert error is not None
        assert error.retry_after is not None
        pauses.append(error.retry_after)
        clock.now += error.retry_after
    assert pauses == [2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    budget.observe(HUB, 200, {})
    error = budget.observe(HUB, 429, {})
    assert error is not None
    assert error.retry_after == 2


def test_answers_to_requests_sent_before_the_closing_change_nothing(
    budget: RequestBudget, clock: SecondsClock
) -> None:
    for _ in range(64):
        budget.observe(HUB, 429, {})
    budget.observe(HUB, 200, {})
    with pytest.raises(RateLimitedError) as caught:
        budget.check(HUB)
    assert caught.value.retry_after == 2
    clock.now += 2
    error = budget.observe(HUB, 429, {})
    assert error is not None
    assert error.retry_after == 4


def test_jitter_shortens_a_pause_by_a_quarter_at_most(clock: SecondsClock) -> None:
    error = RequestBudget(clock=clock, jitter=lambda: 1.0).observe(HUB, 429, {})
    assert error is not None
    assert error.retry_after == 1.5


def test_when_no_pull_is_left_heads_still_go_out(
    budget: RequestBudget, clock: SecondsClock
) -> None:
    assert budget.observe(HUB, 200, {"ratelimit-remaining": "0;w=21600"}) is None
    budget.check(HUB)
    with pytest.raises(RateLimitedError) as caught:
        budget.check(HUB, pull=True)
    assert caught.value.retry_after == PULL_PAUSE
    assert budget.closings() == {HUB: False}
    clock.now += 1
    budget.observe(HUB, 200, {"ratelimit-remaining": "7;w=21600"})
    budget.check(HUB, pull=True)


def test_a_registry_that_answers_nothing_is_left_alone_for_a_while(
    budget: RequestBudget, clock: SecondsClock
) -> None:
    for _ in range(MOST_UNANSWERED - 1):
        budget.observe_silence(HUB)
    budget.observe(HUB, 404, {})  # an answer: what went before was no outage
    for _ in range(MOST_UNANSWERED - 1):
        budget.observe_silence(HUB)
        budget.observe(HUB, 401, {})  # it wants a token, and the token server is silent
    budget.check(HUB)
    budget.observe_silence(HUB)
    with pytest.raises(RegistryUnavailableError, match="answered nothing") as caught:
        budget.check(HUB)
    assert caught.value.retry_after == 2
    clock.now += 2
    budget.check(HUB)
    budget.observe_silence(HUB)  # the next is asked, and the pause is longer from then on
    with pytest.raises(RegistryUnavailableError) as caught:
        budget.check(HUB)
    assert caught.value.retry_after == 4
    clock.now += 4
    budget.observe(HUB, 200, {})
    budget.observe_silence(HUB)
    budget.check(HUB)


@pytest.mark.parametrize("reset", [str(int(START) + 40), "40"], ids=["time", "seconds"])
def test_pulls_go_on_when_the_window_that_the_registry_tells_has_ended(
    budget: RequestBudget, clock: SecondsClock, reset: str
) -> None:
    budget.observe(HUB, 200, {"ratelimit-remaining": "0", "ratelimit-reset": reset})
    with pytest.raises(RateLimitedError) as caught:
        budget.check(HUB, pull=True)
    assert caught.value.retry_after == 40
    clock.now += 40
    budget.check(HUB, pull=True)


async def test_the_slots_of_a_registry_are_shared() -> None:
    budget = RequestBudget(lambda _registry: RegistryLimits(concurrency=3))
    running = most = 0

    async def request() -> None:
        nonlocal running, most
        await budget.take(HUB)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        budget.give_back(HUB)

    await asyncio.gather(*(request() for _ in range(12)))
    assert most == 3


async def test_urgent_requests_get_the_next_slots_of_a_registry() -> None:
    budget = RequestBudget(lambda _registry: RegistryLimits(concurrency=1))
    begun: list[str] = []

    async def request(name: str, *, urgent: bool = False) -> None:
        await budget.take(HUB, urgent=urgent)
        begun.append(name)
        await asyncio.sleep(0)
        budget.give_back(HUB)

    await asyncio.gather(
        *(request(name) for name in "abcd"), *(request(name, urgent=True) for name in "stuvwxyz")
    )
    assert "".join(begun) == "astubvwxcyzd"


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("is_given", [False, True])
async def test_a_slot_is_not_lost_with_who_waited_for_it(*, urgent: bool, is_given: bool) -> None:
    budget = RequestBudget(lambda _registry: RegistryLimits(concurrency=1))
    await budget.take(HUB)
    waiting = asyncio.create_task(budget.take(HUB, urgent=urgent))
    await asyncio.sleep(0)
    if is_given:
        budget.give_back(HUB)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not is_given:
        budget.give_back(HUB)
    async with asyncio.timeout(30):
        await budget.take(HUB)


async def test_who_waits_for_a_slot_is_refused_once_the_gate_closes(clock: SecondsClock) -> None:
    budget = RequestBudget(lambda _registry: RegistryLimits(concurrency=1), clock)
    await budget.take(HUB)
    waiting = asyncio.create_task(budget.take(HUB))
    await asyncio.sleep(0)
    budget.observe(HUB, 429, {"retry-after": "9"})
    budget.give_back(HUB)
    with pytest.raises(RateLimitedError):
        await waiting
    clock.now += 10
    await budget.take(HUB)  # the refused one has left the slot


async def test_requests_start_no_faster_than_the_rate() -> None:
    budget = RequestBudget(lambda _registry: RegistryLimits(per_second=100.0))
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(6):
        await budget.take(HUB)
        budget.give_back(HUB)
    assert loop.time() - started >= 0.045
