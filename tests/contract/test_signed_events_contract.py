"""Contract of signed events: a Subscription's webhook and a CI get the same request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.support.delivery.envelopes import envelope
from tests.support.delivery.http_receiver import HANG, ReceivedRequest, receiving, status
from tests.support.outbound.dialers import loopback_dialer

from upwell.delivery.interface import DeliveryError, InvalidTargetError, WebhookTarget
from upwell.delivery.webhook import Webhooks
from upwell.verification.http import ResponseLimits
from upwell.verification.interface import ProbeError, SignedEvent
from upwell.verification.network import NetworkProbes

BODY = envelope(1).body
PATIENT_SECONDS, HASTY_SECONDS = 60.0, 0.5
"""Limits of an answer: one that comes, however busy the machine, and one that never does."""

type Send = Callable[[str, bytes], Awaitable[object]]
"""Sends BODY to a URL, signed with a secret."""


@asynccontextmanager
async def opened(seconds: float) -> AsyncIterator[dict[str, Send]]:
    async with (
        Webhooks.open("1.2.3", loopback_dialer(), seconds=seconds) as webhooks,
        NetworkProbes.open("1.2.3", loopback_dialer(), ResponseLimits(seconds=seconds)) as probes,
    ):
        yield {
            "delivery": lambda url, secret: webhooks.webhook(WebhookTarget(url, secret)).send(
                envelope(1)
            ),
            "verification": lambda url, secret: probes.tell(SignedEvent(url, BODY, secret)),
        }


@pytest.fixture
async def senders() -> AsyncIterator[dict[str, Send]]:
    async with opened(PATIENT_SECONDS) as found:
        yield found


@pytest.fixture(params=["delivery", "verification"])
def send(request: pytest.FixtureRequest, senders: dict[str, Send]) -> Send:
    return senders[request.param]


@pytest.mark.parametrize("secret", [b"", b"s3cret"])
async def test_both_ports_send_the_same_request(senders: dict[str, Send], secret: bytes) -> None:
    requests: list[ReceivedRequest] = []
    for send in senders.values():
        async with receiving() as receiver:
            await send(receiver.url, secret)
        [arrived] = receiver.arrived
        assert arrived.headers.pop("host") == f"127.0.0.1:{receiver.port}"
        requests.append(arrived)

    assert requests[0] == requests[1]
    assert requests[0].headers["user-agent"] == "upwell/1.2.3"
    assert ("x-upwell-signature" in requests[0].headers) is bool(secret)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "2852039166",  # 169.254.169.254, as the system's resolver reads it
        "0xa9fea9fe",
    ],
)
async def test_nothing_is_sent_to_where_clouds_keep_credentials(send: Send, host: str) -> None:
    refused = "link-local|metadata service|URL cannot be used"
    with pytest.raises((InvalidTargetError, DeliveryError, ProbeError), match=refused):
        await send(f"http://{host}/latest", b"")


async def test_redirects_are_not_followed(send: Send) -> None:
    async with (
        receiving() as elsewhere,
        receiving(status(307, "Temporary Redirect", Location=elsewhere.url)) as receiver,
    ):
        with pytest.raises((DeliveryError, ProbeError), match="answered 307"):
            await send(receiver.url, b"")
    assert elsewhere.arrived == []


async def test_an_answer_without_an_end_is_not_read(send: Send) -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 10_000
    async with receiving(endless) as receiver, asyncio.timeout(60):
        await send(receiver.url, b"")


@pytest.mark.parametrize("port", ["delivery", "verification"])
async def test_a_receiver_that_hangs_is_given_up(port: str) -> None:
    async with receiving(HANG) as receiver, opened(HASTY_SECONDS) as senders, asyncio.timeout(60):
        with pytest.raises((DeliveryError, ProbeError), match=r"did not answer within 0\.5 s"):
            await senders[port](receiver.url, b"")
