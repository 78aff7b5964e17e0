"""WebSockets as Kubernetes' clients use them: a protocol that both speak, or a Status."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from starlette.websockets import WebSocket, WebSocketDisconnect

from upwell.server.http.errors import ApiError, error_response

_MOST_SHOWN = 200


def negotiate(websocket: WebSocket, known: Sequence[str]) -> str:
    """Return the first protocol of the client's that is `known`; raises ApiError 400."""
    offered: list[str] = websocket.scope.get("subprotocols", [])
    for protocol in offered:
        if protocol in known:
            return protocol
    found = ", ".join(offered)[:_MOST_SHOWN] or "none"
    raise ApiError(400, f"Sec-WebSocket-Protocol: supported: {', '.join(known)}; offered: {found}")


async def refuse(websocket: WebSocket, error: ApiError) -> None:
    """Answer an upgrade that was not accepted as any other request that fails."""
    await websocket.send_denial_response(error_response(error))


class Peer:
    """The client behind an accepted WebSocket. What is sent to one that has left is dropped."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._has_left = False
        self._sending = asyncio.Lock()
        """Held by who waits for room: else all who wait would send at once when there is some."""

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what the client sends, text as UTF-8, until it leaves."""
        while not self._has_left:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._has_left = True
                return
            text = message.get("text")
            yield message["bytes"] if text is None else text.encode()

    async def send(self, data: bytes) -> None:
        """Send one message; returns when the client has room for more."""
        if self._has_left:
            return
        try:
            async with self._sending:
                await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError):  # it leaves while we speak
            self._has_left = True

    async def close(self) -> None:
        """End in good order."""
        if not self._has_left:
            self._has_left = True
            try:
                await self._websocket.close()
            except (WebSocketDisconnect, RuntimeError):
                return
