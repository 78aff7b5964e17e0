import asyncio

import pytest
from tests.support.clocks import SecondsClock

from upwell.registry.client.auth import Token, TokenQuery, TokenRequest
from upwell.registry.client.tokens import TokenCache
from upwell.registry.errors import RegistryUnavailableError

REQUEST = TokenRequest(TokenQuery("https://auth.test", "r", ("repository:a:pull",)))


class NumberedTokens:
    """Gives numbered tokens of 60 s, each as soon as `ready` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.reached = asyncio.Event()
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self) -> Token | None:
        self.asked += 1
        self.reached.set()
        number = self.asked
        await self.ready.wait()
        return Token(f"t{number}", 60)


async def test_a_token_is_used_until_shortly_before_its_end() -> None:
    clock, server = SecondsClock(), NumberedTokens()
    cache = TokenCache(clock)
    assert await cache.get(REQUEST, server) == "t1"
    clock.now += 49
    assert await cache.get(REQUEST, server) == "t1"
    clock.now += 2
    assert await cache.get(REQUEST, server) == "t2"


async def test_a_refused_token_is_replaced_and_its_replacement_shared() -> None:
    cache, server = TokenCache(SecondsClock()), NumberedTokens()
    assert await cache.get(REQUEST, server) == "t1"
    refused = TokenRequest(REQUEST.query, "t1")
    assert [await cache.get(refused, server) for _ in range(2)] == ["t2", "t2"]


async def test_many_callers_share_one_fetch_and_one_that_leaves_takes_nothing_away() -> None:
    cache, server = TokenCache(SecondsClock()), NumberedTokens()
    server.ready.clear()
    callers = [asyncio.create_task(cache.get(REQUEST, server)) for _ in range(20)]
    await server.reached.wait()
    callers[0].cancel()
    server.ready.set()
    assert await asyncio.gather(*callers[1:]) == ["t1"] * 19
    assert server.asked == 1
    with pytest.raises(asyncio.CancelledError):
        await callers[0]


async def test_a_failure_is_shared_but_not_kept() -> None:
    cache, server = TokenCache(SecondsClock()), NumberedTokens()

    async def down() -> Token | None:
        await asyncio.sleep(0)
        raise RegistryUnavailableError("auth.test", "down")

    results = await asyncio.gather(
        *(cache.get(REQUEST, down) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [RegistryUnavailableError] * 3
    assert await cache.get(REQUEST, server) == "t1"


async def test_closing_ends_a_fetch_that_hangs() -> None:
    cache, server = TokenCache(SecondsClock()), NumberedTokens()
    server.ready.clear()
    caller = asyncio.create_task(cache.get(REQUEST, server))
    await server.reached.wait()
    await cache.aclose()
    with pytest.raises(asyncio.CancelledError):
        await caller
