"""A proxy before a registry that answers well, or as badly as it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from tests.support.ports import free_port

_HOP = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding", "host"})

_SLOW_SECONDS = 2.0

type BadAnswer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]
"""Answers a request in place of what the registry has answered."""


@dataclass
class RegistryProxy:
    """Passes requests on to `registry`; while it misbehaves, GETs are answered otherwise."""

    registry: str
    port: int = field(default_factory=free_port)
    misbehave: BadAnswer | None = None
    misbehaved: int = 0
    _runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; does nothing when it does so already."""
        if self._runner is not None:
            return
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        url = f"http://{self.registry}{request.path_qs}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=headers) as found,
        ):
            body = await found.read()
            if self.misbehave is not None and request.method == "GET":
                self.misbehaved += 1
                return await self.misbehave(request, body)
            kept = {k: v for k, v in found.headers.items() if k.lower() not in _HOP}
            return web.Response(status=found.status, body=body, headers=kept)


@asynccontextmanager
async def registry_proxy(registry: str, port: int = 0) -> AsyncIterator[RegistryProxy]:
    """Run a proxy while the block lasts."""
    proxy = RegistryProxy(registry, port=port) if port else RegistryProxy(registry)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


async def server_error(_: web.Request, __: bytes) -> web.StreamResponse:
    return web.Response(status=500, text="out of order")


async def slow(_: web.Request, body: bytes) -> web.StreamResponse:
    """Answer nothing for seconds, and then that the time is over."""
    await asyncio.sleep(_SLOW_SECONDS)
    return web.Response(status=504, body=body[:0])


async def other_bytes(_: web.Request, body: bytes) -> web.StreamResponse:
    """Answer as many bytes as there should be, but others."""
    return web.Response(body=bytes(255 - byte for byte in body))


async def truncated(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise all, and end in the middle."""
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    _hang_up(request)
    return response


async def dropped(request: web.Request, _: bytes) -> web.StreamResponse:
    """End the connection without an answer."""
    _hang_up(request)
    await asyncio.sleep(0)
    return web.Response()


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
