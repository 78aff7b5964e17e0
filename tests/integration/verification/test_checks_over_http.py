"""Whole checks against real servers on loopback that are down, slow, endless, or speak nonsense."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from tests.support.outbound.dialers import loopback_dialer
from tests.support.ports import free_port
from tests.support.promotion.verification_in_memory import VerifiedPromotion
from tests.support.verification.loopback import (
    Handler,
    dripping,
    endless,
    garbage,
    prometheus,
    says,
    server,
    silent,
)

from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.verification.http import ResponseLimits
from upwell.verification.network import NetworkProbes

if TYPE_CHECKING:
    from tests.support.verification.probes import ScriptedProbes

LIMITS = ResponseLimits(seconds=0.3, answer_bytes=1000)


@pytest.fixture
async def verified(tmp_path: Path) -> AsyncIterator[VerifiedPromotion]:
    async with NetworkProbes.open("1.2.3", loopback_dialer(), LIMITS) as probes:
        yield VerifiedPromotion(tmp_path, probes=cast("ScriptedProbes", probes))


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (endless, "the first 1000 bytes of the answer did not contain 'welcome'"),
        (says("welcome", "500 Oops"), "answered 500, not 200"),
        (silent, "no answer within 60 s: http://127.0.0.1"),
        (dripping, "did not answer within 0.3 s"),
        (garbage, "cannot be reached"),
    ],
)
async def test_a_page_that_is_not_as_it_should_be_fails(
    verified: VerifiedPromotion, handle: Handler, message: str
) -> None:
    async with server(handle) as url:
        await verified.begin(
            {"name": "home", "http": {"url": "/", "contains": "welcome"}}, address=url
        )
        await verified.look(2)
        ended = await verified.look_after(60)
    assert ended.outcome is VerificationOutcome.FAILED
    assert message in ended.message


async def test_a_metric_store_that_was_away_is_asked_for_the_past(
    verified: VerifiedPromotion,
) -> None:
    place = f"http://127.0.0.1:{free_port()}"
    metric = {"server": place, "query": "q", "condition": "< 1", "intervalSeconds": 30}
    await verified.begin({"name": "errors", "metric": metric}, soakSeconds=60)
    waits = await verified.look(2)
    assert waits.outcome is VerificationOutcome.RUNNING
    assert f"no number, shall be < 1; {place}" in waits.checks[0].message
    asked: list[str] = []

    async def back(head: str, writer: asyncio.StreamWriter) -> None:
        asked.append(head.split(" ")[1])
        await prometheus([1, "0.5"], "scalar")(head, writer)

    async with server(back, int(place.rpartition(":")[2])):
        assert (await verified.look_after(60)).outcome is VerificationOutcome.PASSED
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (silent, "did not answer within 0.3 s"),
        (dripping, "did not answer within 0.3 s"),
        (garbage, "cannot be reached"),
        (endless, "the answer is too long"),
        (says("<html/>", "502 Bad Gateway"), "it answered 502, and no result"),
        (prometheus([{"value": [1, "NaN"]}]), "the query gave no number at any time"),
    ],
)
async def test_a_metric_store_that_says_nothing_passes_nothing(
    verified: VerifiedPromotion, handle: Handler, message: str
) -> None:
    async with server(handle) as url:
        metric = {"server": url, "query": "q", "condition": "< 1", "intervalSeconds": 30}
        await verified.begin({"name": "errors", "metric": metric}, soakSeconds=60)
        await verified.look(2)
        await verified.look_after(60)
        ended = await verified.look_after(60)
    assert ended.outcome is VerificationOutcome.INCONCLUSIVE
    assert message in ended.message
