"""Requests to an ASGI application in this process, without a connection."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass
class AsgiAnswer:
    """Answer of an application."""

    code: int = 0
    body: bytes = b""


async def post(
    app: ASGIApp,
    path: str,
    body: bytes,
    peer: str = "127.0.0.1",
    held: asyncio.Event | None = None,
) -> AsgiAnswer:
    """Send a body as one piece, once it is not `held` any more; return the whole answer."""
    answer = AsgiAnswer()
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"upwell.upwell.svc"), (b"content-type", b"application/json")],
        "client": (peer, 1),
        "server": ("127.0.0.1", 7443),
    }

    async def receive() -> Message:
        if held is not None:
            await held.wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.code = message["status"]
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
