"""Notices through the real Apprise, to a receiver on loopback."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.delivery.envelopes import envelope
from tests.support.delivery.http_receiver import HANG, HttpReceiver, receiving, status
from tests.support.outbound.dialers import loopback_dialer

from upwell.delivery.apprise import Notices
from upwell.delivery.interface import DeliveryError, Envelope, InvalidTargetError
from upwell.outbound.policy import OutboundPolicy


@pytest.fixture
def notices() -> Iterator[Notices]:
    with closing(Notices(loopback_dialer().policy, seconds=20)) as notices:
        yield notices


def url(receiver: HttpReceiver, user: str = "user:pw") -> str:
    return f"json://{user}@127.0.0.1:{receiver.port}/x"


async def test_a_notice_has_a_title_a_text_and_a_kind(notices: Notices) -> None:
    body = json.dumps({"data": {"lines": ["shop/web: is held", "two"]}}).encode()
    digest = Envelope("1", "dev.upwell.digest", "shop/Subscription/d", "error", "2 wait", body)
    async with receiving() as receiver:
        assert await notices.notice([url(receiver)]).send(digest) == "sent to 1 address"
    told = json.loads(receiver.arrived[0].body)
    assert told["title"] == "shop/Subscription/d: digest"
    assert told["message"] == "2 wait\nshop/web: is held\ntwo"
    assert told["type"] == "failure"


async def test_who_has_it_does_not_get_it_again(notices: Notices) -> None:
    async with receiving() as good, receiving(status(500, "No")) as bad:
        sink = notices.notice([url(good), url(bad), url(good)])
        with pytest.raises(DeliveryError, match=r"did not reach 1 of 3 addresses \(json\)") as one:
            await sink.send(envelope(1))
        assert not one.value.permanent
        await sink.send(envelope(1), one.value.reached)
    assert (len(good.arrived), len(bad.arrived)) == (1, 2)


async def test_no_password_is_in_errors_logs_or_what_is_remembered(
    notices: Notices, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving(otherwise=status(500, "No")) as bad:
        sink = notices.notice(
            [url(bad, "user:hunter2"), "slack://hunter2/hunter2", "nosuch://hunter2"]
        )
        with pytest.raises(DeliveryError) as caught:
            await sink.send(envelope(1))
    assert str(caught.value) == "Apprise did not reach 3 of 3 addresses (json, nosuch, slack)"
    told = f"{caplog.text}{capfd.readouterr()}{caught.value.reached}{caught.value!r}{sink!r}"
    assert "hunter2" not in told
    assert "/x" not in told  # many services have their tokens in the path


async def test_a_service_that_hangs_is_given_up() -> None:
    with closing(Notices(loopback_dialer().policy, seconds=0.3)) as notices:
        async with receiving(otherwise=HANG) as receiver:
            sink = notices.notice([f"{url(receiver)}?rto=1&cto=1"])
            with pytest.raises(DeliveryError, match="did not reach 1 of 1 address"):
                await sink.send(envelope(1))


@pytest.mark.parametrize("urls", [[], ["no url"], ["json://localhost"] * 51])
def test_what_is_no_list_of_addresses_is_refused(notices: Notices, urls: list[str]) -> None:
    with pytest.raises(InvalidTargetError):
        notices.notice(urls)


async def test_nothing_is_written_to_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    with closing(Notices(OutboundPolicy(), seconds=20)) as notices:
        async with receiving() as receiver:
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
                sink = notices.notice([f"json://user:hunter2@{host}:{receiver.port}/x"])
                with pytest.raises(DeliveryError, match="did not reach 1 of 1 address") as caught:
                    await sink.send(envelope(1))
                assert "hunter2" not in f"{caught.value}{caplog.text}"
            sink = notices.notice([url(receiver)])
            with pytest.raises(DeliveryError, match=r"refused: 127\.0\.0\.1 is a loopback address"):
                await sink.send(envelope(1))
            assert receiver.arrived == []


async def test_a_redirect_to_this_machine_is_not_followed() -> None:
    async with receiving() as inside:
        moved = status(307, "Temporary Redirect", Location=inside.url)
        async with receiving(otherwise=moved) as outside:
            policy = OutboundPolicy.of([f"127.0.0.1:{outside.port}"])
            with (
                closing(Notices(policy, seconds=20)) as notices,
                pytest.raises(DeliveryError, match="did not reach"),
            ):
                await notices.notice([url(outside)]).send(envelope(1))
        assert inside.arrived == []


async def test_a_service_of_an_allowed_name_is_reached() -> None:
    async with receiving() as receiver:
        policy = OutboundPolicy.of([f"localhost:{receiver.port}"])
        with closing(Notices(policy, seconds=20)) as notices:
            sink = notices.notice([f"json://localhost:{receiver.port}/x"])
            assert await sink.send(envelope(1)) == "sent to 1 address"


async def test_mail_is_not_sent_by_way_of_this_machine() -> None:
    greeted = False

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted = True
        writer.close()

    with closing(Notices(OutboundPolicy(), seconds=20)) as notices:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            sink = notices.notice(
                [f"mailto://a:b@127.0.0.1:{port}/?from=b@x.test&to=a@x.test&mode=insecure"]
            )
            with pytest.raises(DeliveryError, match="a loopback address"):
                await sink.send(envelope(1))
    assert not greeted
