"""A WebSocket of an API server, as the command line enters containers and reaches their ports."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp

from upwell.machine.sockets.connecting import connection_failure
from upwell.store.interface import UnavailableError
from upwell.store.kubernetes_connections import (
    ConnectionFailedError,
    ServerAccess,
    trusted,
)

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
        """Yield messages until the server has no more; raises UnavailableError.

        An end that the server does not declare is none (RFC 6455, 7.4.1).
        """
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    yield message.data
                case aiohttp.WSMsgType.TEXT:
                    yield message.data.encode()
                case aiohttp.WSMsgType.CLOSE if message.data == aiohttp.WSCloseCode.OK:
                    return
                case aiohttp.WSMsgType.CLOSE if message.data == aiohttp.WSCloseCode.SERVICE_RESTART:
                    raise UnavailableError("the server stopped")
                case _:
                    raise UnavailableError("the connection to the server broke")


class RefusedConversationError(Exception):
    """The server opens no WebSocket here; the message is its status line."""


@asynccontextmanager
async def open_conversation(
    access: ServerAccess,
    path: str,
    params: Sequence[tuple[str, str]],
    protocol: str,
    headers: Mapping[str, str],
) -> AsyncGenerator[KubernetesConversation]:
    """Open a WebSocket for the block; the server has to speak `protocol`.

    Raises RefusedConversationError, ConnectionFailedError or TimeoutError.
    """
    url = access.base_url.rstrip("/") + path
    async with aiohttp.ClientSession(connector=_connector(access), headers=headers) as session:
        try:
            async with asyncio.timeout(access.timeout):
                socket = await session.ws_connect(
                    url,
                    params=params,
                    protocols=(protocol,),
                    heartbeat=HEARTBEAT,
                    max_msg_size=MAX_MESSAGE_BYTES,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise RefusedConversationError(error.message) from error
        except aiohttp.ClientSSLError as error:
            raise ConnectionFailedError(str(error)) from error
        except aiohttp.ClientConnectorError as error:
            why = connection_failure(error.host, error.port, error.os_error)
            raise ConnectionFailedError(why) from error
        except aiohttp.ClientError as error:
            raise ConnectionFailedError(str(error)) from error
        async with socket:
            yield KubernetesConversation(socket)


def _connector(access: ServerAccess) -> aiohttp.BaseConnector:
    if access.socket is not None:
        return aiohttp.UnixConnector(str(access.socket))
    if access.tls is not None:
        return aiohttp.TCPConnector(ssl=access.tls)
    return aiohttp.TCPConnector(ssl=trusted(access.ca) if access.ca else True)
