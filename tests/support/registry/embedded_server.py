"""Serves an embedded registry on a free loopback port, in this process or as a child."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import ServedRegistry
from upwell.registry.interface import PushEvent
from upwell.server.distribution.routes import create_routes
from upwell.server.http.bounded_body import BodyLimits

DEFAULT_LIMITS = StorageLimits()


@dataclass
class EmbeddedServer:
    registry: EmbeddedRegistry
    host: str
    events: list[PushEvent] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextlib.asynccontextmanager
async def serving_registry[R: ServedRegistry](
    create: Callable[[str], R], idle: float = 20.0
) -> AsyncIterator[R]:
    """Serve what `create` makes for the host and port that it is given."""
    # uvicorn's protocol without its Server, which takes 0.1 s to notice that a test is over.
    state = ServerState()
    app = Starlette()
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off")
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0
    )
    registry = create(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await registry.recover()
    app.router.routes.extend(create_routes(registry, BodyLimits(idle=idle)))
    try:
        yield registry
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    root: Path, limits: StorageLimits = DEFAULT_LIMITS, idle: float = 20.0
) -> AsyncIterator[EmbeddedServer]:
    events: list[PushEvent] = []

    def create(host: str) -> EmbeddedRegistry:
        return EmbeddedRegistry(root, host, [events.append], limits)

    async with serving_registry(create, idle) as registry:
        yield EmbeddedServer(registry, registry.host, events)


async def _serve_forever(root: Path) -> None:
    async with serving(root) as served:
        print(served.host, flush=True)  # noqa: T201 - the parent reads the address
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_forever(Path(sys.argv[1])))
