"""Serves an embedded registry on a free loopback port, in this process or as a child."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from upwell.registry.embedded import EmbeddedRegistry, Limits
from upwell.registry.interface import PushEvent
from upwell.server.registry import create_routes
from upwell.server.registry_body import BodyLimits

DEFAULT_LIMITS = Limits()


@dataclass
class Served:
    registry: EmbeddedRegistry
    host: str
    events: list[PushEvent] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextlib.asynccontextmanager
async def serving(
    root: Path, limits: Limits = DEFAULT_LIMITS, idle: float = 20.0
) -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    events: list[PushEvent] = []
    registry = EmbeddedRegistry(root, host, [events.append], limits)
    await registry.recover()
    app = Starlette(routes=create_routes(registry, BodyLimits(idle=idle)))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, ws="none", lifespan="off", http="httptools"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Served(registry, host, events)
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
        listener.close()


async def _serve_forever(root: Path) -> None:
    async with serving(root) as served:
        print(served.host, flush=True)  # noqa: T201 - the parent reads the address
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_forever(Path(sys.argv[1])))
