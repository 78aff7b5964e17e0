"""Requests to identity providers over real sockets: limits, redirects, the outbound policy."""

import asyncio

import pytest
from tests.support.outbound.dialers import loopback_dialer
from tests.support.verification.loopback import endless, garbage, says, server, silent

from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy
from upwell.outbound.provider_requests import (
    ProviderAnswer,
    ProviderClient,
    ProviderRequest,
    ProviderRequestError,
)

LIMIT = 1000


async def asked(request: ProviderRequest, *, seconds: float = 30.0) -> ProviderAnswer:
    async with ProviderClient.open(loopback_dialer(), seconds=seconds) as client:
        return await client.ask(request)


async def test_a_form_is_sent_and_errors_of_the_protocol_are_read() -> None:
    heads: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await says("denied", "400 Bad Request")(head, writer)

    async with server(answer) as url:
        found = await asked(ProviderRequest(url, LIMIT, {"code": "a&b"}, "Basic eDp5"))

    assert (found.status, found.body, found.is_success) == (400, b"denied", False)
    assert heads[0].startswith("POST / ")
    assert "Authorization: Basic eDp5" in heads[0]


async def test_a_redirect_is_not_followed() -> None:
    async with (
        server(says("secret")) as elsewhere,
        server(says("", "302 Found", Location=elsewhere)) as url,
    ):
        found = await asked(ProviderRequest(url, LIMIT, authorization="Bearer secret"))

    assert (found.status, found.body) == (302, b"")


async def test_an_answer_without_end_is_cut_off() -> None:
    async with server(endless) as url:
        with pytest.raises(ProviderRequestError, match="more than 1000 bytes"):
            await asked(ProviderRequest(url, LIMIT))


async def test_a_provider_that_says_nothing_is_not_waited_for() -> None:
    async with server(silent) as url:
        with pytest.raises(ProviderRequestError, match="no answer within"):
            await asked(ProviderRequest(url, LIMIT), seconds=0.5)


async def test_what_is_no_http_is_told_without_its_text() -> None:
    async with server(garbage) as url:
        with pytest.raises(ProviderRequestError) as caught:
            await asked(ProviderRequest(url, LIMIT))

    assert "SSH" not in str(caught.value)


async def test_a_place_that_the_policy_refuses_is_not_asked() -> None:
    async with (
        server(says("secret")) as url,
        ProviderClient.open(Dialer(OutboundPolicy())) as client,
    ):
        with pytest.raises(ProviderRequestError, match=r"refused: .*loopback"):
            await client.ask(ProviderRequest(url, LIMIT))
