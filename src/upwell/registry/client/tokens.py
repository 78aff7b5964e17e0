"""Bearer tokens kept until shortly before they expire, fetched once however many ask."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from upwell.registry.client.auth import Token, TokenQuery, TokenRequest

MARGIN = 10.0
"""Seconds before its end at which a token is not used any more; a quarter of a short life."""


@dataclass(frozen=True, slots=True)
class _Held:
    token: Token = field(repr=False)
    until: float


class TokenCache:
    """Tokens by what they were asked for. `clock` gives seconds, from any origin."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._held: dict[TokenQuery, _Held] = {}
        self._fetches: dict[TokenQuery, asyncio.Task[Token | None]] = {}

    async def get(
        self, request: TokenRequest, fetch: Callable[[], Coroutine[Any, Any, Token | None]]
    ) -> str | None:
        """Return a token that is not `request.refused`, or None when the server refuses us.

        Callers that ask for the same at once share one `fetch` and what it raises.
        """
        held = self._held.get(request.query)
        if held and held.until > self._clock() and held.token.value != request.refused:
            return held.token.value
        task = self._fetches.get(request.query)
        if task is None:
            task = asyncio.create_task(self._fetch(request.query, fetch))
            self._fetches[request.query] = task
            task.add_done_callback(lambda done: self._finished(request.query, done))
        # A caller that is cancelled must not take the token away from the others.
        token = await asyncio.shield(task)
        return token.value if token else None

    async def aclose(self) -> None:
        """Cancel the fetches that still run, and wait for their end."""
        tasks = list(self._fetches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(
        self, query: TokenQuery, fetch: Callable[[], Coroutine[Any, Any, Token | None]]
    ) -> Token | None:
        asked = self._clock()  # its life began no earlier: the safe end to count from
        token = await fetch()
        now = self._clock()
        self._held = {key: held for key, held in self._held.items() if held.until > now}
        if token is not None:
            until = asked + token.life - min(MARGIN, token.life / 4)
            self._held[query] = _Held(token, until)
        return token

    def _finished(self, query: TokenQuery, task: asyncio.Task[Token | None]) -> None:
        del self._fetches[query]
        if not task.cancelled():
            task.exception()  # seen, also when every caller has gone
