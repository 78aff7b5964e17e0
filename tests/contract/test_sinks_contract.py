"""Contract of sinks: webhooks, notices, and the receivers in memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from tests.support.delivery.envelopes import envelope
from tests.support.delivery.http_receiver import (
    HANG,
    OK,
    HttpReceiver,
    receiving,
    status,
)
from tests.support.delivery.receivers import Receivers
from tests.support.outbound.dialers import loopback_dialer

from upwell.delivery.apprise import Notices
from upwell.delivery.interface import (
    DeliveryError,
    InvalidTargetError,
    NoticeSinks,
    Sink,
    WebhookSinks,
    WebhookTarget,
)
from upwell.delivery.webhook import Webhooks

SECRET = b"s3cret"
REFUSALS = {
    "permanent": (status(404, "Not Found"), DeliveryError("answered 404", permanent=True)),
    "passing": (
        status(503, "Busy", Retry_After="7"),
        DeliveryError("answered 503", retry_after=7),
    ),
}
"""Refusals of a receiver: over HTTP, and as the receivers in memory are told to."""


@dataclass
class SinkUnderTest:
    """A sink and its receiver."""

    sink: Sink
    arrived: Callable[[], list[str]]
    """The events that the receiver has taken, by their ids."""
    refuse: Callable[[str], None]
    """Let it answer so from now on (REFUSALS); empty: it takes what comes."""
    hang: Callable[[], None]
    """Let it answer no more."""


def in_memory(receivers: Receivers, sink: Sink) -> SinkUnderTest:
    def refuse(how: str) -> None:
        receivers.answer = lambda _: REFUSALS[how][1] if how else None

    return SinkUnderTest(
        sink, lambda: [one.id for one in receivers.received], refuse, receivers.gate.clear
    )


def over_http(receiver: HttpReceiver, sink: Sink) -> SinkUnderTest:
    taken: list[str] = []

    def arrived() -> list[str]:
        if receiver.otherwise == OK:
            documents = [json.loads(one.body) for one in receiver.arrived]
            taken.extend(one.get("id") or one["message"] for one in documents)
        receiver.arrived.clear()
        return taken

    def answer(now: bytes) -> None:
        arrived()
        receiver.otherwise = now

    return SinkUnderTest(
        sink, arrived, lambda how: answer(REFUSALS[how][0] if how else OK), lambda: answer(HANG)
    )


def address(receiver: HttpReceiver) -> str:
    return f"json://user:pw@127.0.0.1:{receiver.port}/x"


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    async with Webhooks.open("1.2.3", loopback_dialer(), seconds=10) as webhooks:
        yield webhooks


@pytest.fixture
async def notices() -> AsyncIterator[Notices]:
    notices = Notices(loopback_dialer().policy)
    yield notices
    notices.close()


@pytest.fixture(params=["webhook", "notice", "webhook in memory", "notice in memory"])
async def telling(
    request: pytest.FixtureRequest, webhooks: Webhooks, notices: Notices
) -> AsyncIterator[SinkUnderTest]:
    receivers = Receivers()
    async with receiving() as receiver:
        match request.param:
            case "webhook":
                sink: Sink = webhooks.webhook(WebhookTarget(receiver.url, SECRET))
                yield over_http(receiver, sink)
            case "notice":
                yield over_http(receiver, notices.notice([address(receiver)]))
            case "webhook in memory":
                sink = receivers.webhook(WebhookTarget("http://ci.test/", SECRET))
                yield in_memory(receivers, sink)
            case _:
                yield in_memory(receivers, receivers.notice(["json://ci.test"]))


async def test_an_event_arrives_and_the_answer_is_for_people(telling: SinkUnderTest) -> None:
    assert await telling.sink.send(envelope(1))
    assert telling.arrived() == ["event-1"]


async def test_an_event_can_be_sent_again(telling: SinkUnderTest) -> None:
    for number in (1, 2, 1):
        await telling.sink.send(envelope(number))
    assert telling.arrived() == ["event-1", "event-2", "event-1"]


async def test_events_can_be_sent_at_once(telling: SinkUnderTest) -> None:
    await asyncio.gather(*(telling.sink.send(envelope(number)) for number in range(5)))
    assert sorted(telling.arrived()) == [f"event-{number}" for number in range(5)]


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refusal_is_an_error_and_the_next_try_may_succeed(
    telling: SinkUnderTest, how: str
) -> None:
    telling.refuse(how)
    with pytest.raises(DeliveryError) as caught:
        await telling.sink.send(envelope(1))
    assert str(caught.value)
    assert "pw" not in str(caught.value)
    telling.refuse("")
    await telling.sink.send(envelope(1), caught.value.reached)
    assert telling.arrived() == ["event-1"]


async def test_a_cancelled_send_ends_at_once(telling: SinkUnderTest) -> None:
    telling.hang()
    sending = asyncio.create_task(telling.sink.send(envelope(1)))
    await asyncio.sleep(0.05)
    assert not sending.done()
    sending.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert telling.arrived() == []


# webhooks


@pytest.fixture(params=["webhook", "webhook in memory"])
async def posting(
    request: pytest.FixtureRequest, webhooks: Webhooks
) -> AsyncIterator[tuple[WebhookSinks, SinkUnderTest]]:
    async with receiving() as receiver:
        receivers = Receivers()
        target = WebhookTarget(receiver.url)
        if request.param == "webhook":
            yield webhooks, over_http(receiver, webhooks.webhook(target))
        else:
            yield receivers, in_memory(receivers, receivers.webhook(target))


@pytest.mark.parametrize(
    ("how", "permanent", "pause"), [("permanent", True, None), ("passing", False, 7.0)]
)
async def test_a_webhook_says_whether_to_try_again_and_when(
    posting: tuple[WebhookSinks, SinkUnderTest], how: str, pause: float | None, *, permanent: bool
) -> None:
    _, telling = posting
    telling.refuse(how)
    with pytest.raises(DeliveryError) as caught:
        await telling.sink.send(envelope(1))
    assert (caught.value.permanent, caught.value.retry_after) == (permanent, pause)
    assert caught.value.reached == frozenset()


@pytest.mark.parametrize(
    "target",
    [
        WebhookTarget("http://169.254.169.254/latest/meta-data/"),
        WebhookTarget("http://ci.test/", headers={"bad header": "x"}),
        WebhookTarget("http://ci.test/", headers={"Host": "other.test"}),
        WebhookTarget("http://ci.test/", headers={"X-A": "two\nlines"}),
    ],
    ids=["link-local", "no name", "the server's own", "two lines"],
)
async def test_a_target_that_nothing_can_be_sent_to_is_refused(
    posting: tuple[WebhookSinks, SinkUnderTest], target: WebhookTarget
) -> None:
    with pytest.raises(InvalidTargetError, match=r"\w"):
        posting[0].webhook(target)


# notices


@dataclass
class TwoAddresses:
    """Notices to two addresses, the second of which is away."""

    notices: NoticeSinks
    urls: tuple[str, str]
    arrived: Callable[[], int]
    """Return the number of deliveries at the first address."""
    repair: Callable[[], None]


@pytest.fixture(params=["notice", "notice in memory"])
async def two(request: pytest.FixtureRequest, notices: Notices) -> AsyncIterator[TwoAddresses]:
    async with AsyncExitStack() as stack:
        if request.param == "notice":
            good, bad = [await stack.enter_async_context(receiving()) for _ in range(2)]
            bad.otherwise = status(500, "No")
            urls = (address(good), address(bad))

            def repair() -> None:
                bad.otherwise = OK

            yield TwoAddresses(notices, urls, lambda: len(good.arrived), repair)
        else:
            receivers = Receivers(away={"json://bad.test"})
            urls = ("json://good.test", "json://bad.test")
            yield TwoAddresses(
                receivers, urls, lambda: len(receivers.received), receivers.away.clear
            )


async def test_who_has_it_is_not_told_again(two: TwoAddresses) -> None:
    sink = two.notices.notice([*two.urls, two.urls[0]])
    with pytest.raises(DeliveryError) as caught:
        await sink.send(envelope(1))
    assert len(caught.value.reached) == 1
    assert not caught.value.permanent
    assert two.arrived() == 1
    with pytest.raises(DeliveryError) as again:
        await sink.send(envelope(1), caught.value.reached)
    assert again.value.reached == caught.value.reached
    assert two.arrived() == 1


async def test_the_rest_is_told_when_it_is_back(two: TwoAddresses) -> None:
    sink = two.notices.notice(two.urls)
    with pytest.raises(DeliveryError) as caught:
        await sink.send(envelope(1))
    two.repair()
    assert await sink.send(envelope(1), caught.value.reached)


@pytest.mark.parametrize("urls", [[], ["not a URL"], ["json://x"] * 51], ids=["0", "no", "51"])
async def test_what_are_no_addresses_is_refused(two: TwoAddresses, urls: list[str]) -> None:
    with pytest.raises(InvalidTargetError, match="Apprise URL"):
        two.notices.notice(urls)
