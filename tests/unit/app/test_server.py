"""Addresses on which `upwell serve` listens."""

import asyncio
import socket
from pathlib import Path

import pytest

from upwell.app.server import _listen
from upwell.settings import ServerSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_no_answer_waits_for_the_acknowledgement_of_its_beginning(host: str) -> None:
    accepted = asyncio.get_running_loop().create_future()
    with _listen(ServerSettings(data_dir=Path("data"), host=host, port=0)) as listener:
        server = await asyncio.start_server(
            lambda _, writer: accepted.set_result(writer), sock=listener
        )
        async with server:
            _, client = await asyncio.open_connection(*listener.getsockname()[:2])
            writer: asyncio.StreamWriter = await accepted
            taken: socket.socket = writer.get_extra_info("socket")
            at_once = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            client.close()
            writer.close()
    assert at_once
