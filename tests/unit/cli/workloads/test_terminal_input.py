"""Input of a command in a container, where this one has none."""

import asyncio
import sys

import pytest

from upwell.cli.workloads.terminal import send_input


async def test_stdin_that_is_closed_is_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    sent: asyncio.Queue[bytes] = asyncio.Queue()

    send_input(sent.put)

    async with asyncio.timeout(30):
        assert await sent.get() == b""
