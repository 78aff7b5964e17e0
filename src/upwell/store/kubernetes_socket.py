"""A WebSocket of an API server, as the command line enters containers and reaches their ports."""

from collections.abc import AsyncGenerator

import aiohttp

from upwell.store.interface import UnavailableError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
HEARTBEAT = 30.0
"""Seconds between two questions whether the server is still there."""


class KubernetesConversation:
    """Implements Conversation."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, message: bytes) -> None:
        """Send one message; returns when there is room for more. Raises UnavailableError."""
        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise UnavailableError("the server closed the connection") from error

    async def messages(self) -> AsyncGenerator[bytes]:
        """Yield messages until the server has no more; raises UnavailableError."""
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                yield message.data
            elif message.type is aiohttp.WSMsgType.TEXT:
                yield message.data.encode()
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise UnavailableError(f"the connection broke: {message.data}")
