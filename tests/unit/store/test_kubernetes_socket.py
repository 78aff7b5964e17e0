"""The end of a WebSocket of the server: only one that it declares is the end of what it says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer

from upwell.store.interface import UnavailableError
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_socket import KubernetesConversation, open_conversation


@asynccontextmanager
async def conversing(code: int | None) -> AsyncIterator[KubernetesConversation]:
    """Give what a server says that then closes with a code, or breaks off without one."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("p",))
        await socket.prepare(request)
        await socket.send_bytes(b"half")
        if code is not None:
            await socket.close(code=code)
        elif request.transport is not None:
            request.transport.close()
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        access = ServerAccess(str(server.make_url("/")))
        async with open_conversation(access, "/", [], "p", {}) as conversation:
            yield conversation


async def test_a_declared_end_is_one() -> None:
    async with conversing(WSCloseCode.OK) as conversation:
        assert [message async for message in conversation.messages()] == [b"half"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (WSCloseCode.SERVICE_RESTART, "the server stopped"),
        (WSCloseCode.INTERNAL_ERROR, "the connection to the server broke"),
        (None, "the connection to the server broke"),
    ],
)
async def test_any_other_end_is_an_error(code: int | None, told: str) -> None:
    async with conversing(code) as conversation:
        messages = conversation.messages()
        assert await anext(messages) == b"half"
        with pytest.raises(UnavailableError, match=told):
            await anext(messages)
