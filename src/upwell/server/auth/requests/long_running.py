"""Answers that go on for hours: they end when their client may not have them any more."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Scope, Send

_POLICY_VIOLATION = 1008
"""Close code of a websocket that may not go on (RFC 6455, 7.4.1)."""


async def run_while(
    answer: Awaitable[None], is_allowed: Callable[[], Awaitable[bool]], period: float
) -> bool:
    """Run `answer`; cancel it when it is not allowed any more, asked every `period` seconds.

    Return whether it ended by itself; raises what it raises.
    """
    task = asyncio.ensure_future(answer)
    try:
        while True:
            await asyncio.wait({task}, timeout=period)
            if task.done():
                task.result()
                return True
            if not await is_allowed():
                return False
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


class ResponseProgress:
    """Knows how far an answer got, to end it in good order where its handler was stopped."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._is_websocket = scope["type"] == "websocket"
        self._send = send
        self.has_begun = False
        self._is_over = False

    async def send(self, message: Message) -> None:
        """Send a message of the handler."""
        self.has_begun = True
        self._is_over = _is_final(message)
        await self._send(message)

    async def end(self, why: str) -> None:
        """Send what an answer that has begun lacks to be over."""
        if self._is_over:
            return
        if self._is_websocket:
            close = {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": why}
            await self._send(close)
        else:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_final(message: Message) -> bool:
    if message["type"] == "http.response.body":
        return not message.get("more_body", False)
    return bool(message["type"] == "websocket.close")
