"""Webhooks against a receiver on loopback: what is sent, and what each answer means."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.support.delivery.envelopes import envelope
from tests.support.delivery.http_receiver import HANG, OK, receiving, status
from tests.support.outbound.dialers import loopback_dialer

from upwell.delivery.interface import DeliveryError, InvalidTargetError, WebhookTarget
from upwell.delivery.webhook import Webhooks


@pytest.fixture
async def webhooks() -> AsyncIterator[Webhooks]:
    async with Webhooks.open("1.2.3", loopback_dialer(), seconds=60) as webhooks:
        yield webhooks


async def refusal(webhooks: Webhooks, url: str) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await webhooks.webhook(WebhookTarget(url)).send(envelope(1))
    return caught.value


async def test_an_event_is_posted_and_signed(webhooks: Webhooks) -> None:
    async with receiving() as receiver:
        target = WebhookTarget(receiver.url, b"s3cret", {"Authorization": "Bearer abc"})
        assert await webhooks.webhook(target).send(envelope(1)) == "204 No Content"
    [arrived] = receiver.arrived
    assert arrived.line == "POST /hook?x=1 HTTP/1.1"
    assert arrived.body == envelope(1).body
    assert arrived.headers["content-type"] == "application/cloudevents+json"
    assert arrived.headers["authorization"] == "Bearer abc"
    assert arrived.headers["user-agent"] == "upwell/1.2.3"
    mac = hmac.digest(b"s3cret", arrived.body, "sha256").hex()
    assert arrived.headers["x-upwell-signature"] == f"sha256={mac}"


async def test_a_receiver_may_want_plain_json(webhooks: Webhooks) -> None:
    async with receiving() as receiver:
        target = WebhookTarget(receiver.url, content_type="application/json")
        await webhooks.webhook(target).send(envelope(1))
    assert receiver.arrived[0].headers["content-type"] == "application/json"
    assert receiver.arrived[0].body == envelope(1).body


async def test_without_a_secret_nothing_is_signed(webhooks: Webhooks) -> None:
    async with receiving() as receiver:
        await webhooks.webhook(WebhookTarget(receiver.url)).send(envelope(1))
    assert "x-upwell-signature" not in receiver.arrived[0].headers


@pytest.mark.parametrize(
    ("answer", "permanent", "message"),
    [
        (status(400, "Bad Request"), True, "answered 400 Bad Request"),
        (status(404, "Not Found"), True, "answered 404 Not Found"),
        (status(410, "Gone"), True, "answered 410 Gone"),
        (status(408, "Request Timeout"), False, "answered 408 Request Timeout"),
        (status(425, "Too Early"), False, "answered 425 Too Early"),
        (status(429, "Too Many Requests"), False, "answered 429 Too Many Requests"),
        (status(500, "Oh no"), False, "answered 500 Oh no"),
        (status(503, "Busy"), False, "answered 503 Busy"),
        (b"\x00\x01garbage\r\n\r\n", False, "no proper answer: "),
        (b"HTTP/1.1 999999 What\r\n\r\n", False, "no proper answer: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", False, "no proper answer: "),
    ],
)
async def test_what_an_answer_means(
    webhooks: Webhooks, answer: bytes, message: str, *, permanent: bool
) -> None:
    async with receiving(answer) as receiver:
        error = await refusal(webhooks, receiver.url)
    assert error.permanent is permanent
    assert str(error).startswith(message)
    assert len(receiver.arrived) == 1


async def test_a_receiver_that_hangs_may_answer_later() -> None:
    async with (
        receiving(HANG) as receiver,
        Webhooks.open("1.2.3", loopback_dialer(), seconds=0.5) as webhooks,
    ):
        error = await refusal(webhooks, receiver.url)
    assert not error.permanent
    assert str(error).startswith("the receiver did not answer within 0.5 s")


async def test_a_redirect_is_not_followed(webhooks: Webhooks) -> None:
    async with (
        receiving() as elsewhere,
        receiving(status(307, "Temporary Redirect", Location=elsewhere.url)) as receiver,
    ):
        error = await refusal(webhooks, receiver.url)
    assert error.permanent
    assert elsewhere.arrived == []


@pytest.mark.parametrize("answered", ["120", "date", "soon", "-5"])
async def test_a_receiver_may_ask_for_a_pause(webhooks: Webhooks, answered: str) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    value = then if answered == "date" else answered
    async with receiving(status(503, "Busy", Retry_After=value)) as receiver:
        error = await refusal(webhooks, receiver.url)
    if answered in {"120", "date"}:
        assert error.retry_after == pytest.approx(120, abs=2)
    else:
        assert error.retry_after is None


async def test_an_answer_without_an_end_is_not_read(webhooks: Webhooks) -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 10_000
    async with receiving(endless) as receiver, asyncio.timeout(60):
        sink = webhooks.webhook(WebhookTarget(receiver.url))
        assert await sink.send(envelope(1)) == "200 OK"


async def test_who_is_not_there_may_come_back(webhooks: Webhooks) -> None:
    async with receiving() as receiver:
        url = receiver.url
    error = await refusal(webhooks, url)
    assert not error.permanent
    assert str(error).startswith("cannot connect: ")


async def test_a_name_that_does_not_exist_may_come_to_be(webhooks: Webhooks) -> None:
    error = await refusal(webhooks, "http://no-such-host.invalid/")
    assert not error.permanent


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "2852039166",  # 169.254.169.254, as the system's resolver reads it
        "0xa9fea9fe",
    ],
)
async def test_nothing_is_sent_to_where_clouds_keep_credentials(
    webhooks: Webhooks, host: str
) -> None:
    refused = "link-local|metadata service|URL cannot be used"
    with pytest.raises((InvalidTargetError, DeliveryError), match=refused) as caught:
        await webhooks.webhook(WebhookTarget(f"http://{host}/latest")).send(envelope(1))
    assert getattr(caught.value, "permanent", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bad header", "x"),
        ("X-A", "two\r\nX-B: lines"),
        ("X-A", "snow ☃"),
        ("X-A", "x" * 9000),
        ("content-length", "3"),
        ("Host", "elsewhere"),
        ("x-upwell-signature", "sha256=0"),
    ],
)
async def test_headers_that_would_break_a_request_are_refused(
    webhooks: Webhooks, name: str, value: str
) -> None:
    with pytest.raises(InvalidTargetError) as caught:
        webhooks.webhook(WebhookTarget("http://127.0.0.1/", headers={name: value}))
    assert value not in str(caught.value)


async def test_a_connection_is_used_again(webhooks: Webhooks) -> None:
    async with receiving(OK, status(500, "No"), OK) as receiver:
        sink = webhooks.webhook(WebhookTarget(receiver.url))
        await sink.send(envelope(1))
        with pytest.raises(DeliveryError):
            await sink.send(envelope(2))
        await sink.send(envelope(3))
    assert [one.body for one in receiver.arrived] == [envelope(n).body for n in (1, 2, 3)]
