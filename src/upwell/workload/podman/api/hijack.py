"""One HTTP request that turns its connection into a plain stream (Docker Engine API, "hijacking").

Written out by hand: HTTP clients keep the connection of an answer to themselves.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.slow_readers import read_little

_ANSWER_SECONDS = 30.0
_MAX_HEAD_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024
_MAX_REFUSAL_CHARACTERS = 2000
_SWITCHING_PROTOCOLS = b"101"


async def hijack(
    socket: Path, path: str, body: Mapping[str, Any] | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """POST `body` to a Unix socket, and return the stream that follows; the caller closes it.

    None sends nothing: what is attached to takes all that is sent for its input.

    Raises RuntimeUnavailableError, with the server's own words when it refuses.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket), limit=_MAX_HEAD_BYTES)
            try:
                writer.write(_request(path, body))
                await _require_switch(reader)
            except BaseException:
                writer.close()
                raise
    except (OSError, EOFError, IndexError, asyncio.LimitOverrunError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise RuntimeUnavailableError(f"podman: POST {path}: {why}") from error
    read_little(writer.transport)
    return reader, writer


def _request(path: str, body: Mapping[str, Any] | None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\n"
        "Host: podman\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: tcp\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _require_switch(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != _SWITCHING_PROTOCOLS:
        raise RuntimeUnavailableError(f"podman: {await _refusal(reader)}")


async def _refusal(reader: asyncio.StreamReader) -> str:
    """Return the message of an error's body, of which the start is enough."""
    raw = await reader.read(_MAX_REFUSAL_BYTES)
    try:
        message = str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        message = raw.decode(errors="replace")
    return message.strip()[:_MAX_REFUSAL_CHARACTERS] or "the command was refused"
