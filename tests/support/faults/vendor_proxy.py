"""A vendor's registry behind a proxy that can be made slow, broken, dishonest, or gone."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from tests.support.installation.installation import free_port

_HOP_BY_HOP = {"connection", "content-encoding", "content-length", "transfer-encoding"}
_SLOW_SECONDS = 2.0

type Misbehave = Callable[[web.Request, bytes], bytes]


@dataclass
class VendorProxy:
    """Answers as the registry behind it does, unless it was told to do otherwise."""

    upstream: str
    """host:port of the registry that this one stands in for."""
    port: int = field(default_factory=free_port)
    fault: str = ""
    """One of `slow`, `failing`, `truncated`, `lying`; empty: it is well."""
    _runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; does nothing when it does so already."""
        if self._runner is not None:
            return
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Refuse connections, and drop those that are open."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.fault == "failing":
            return web.Response(status=500, text="out of order")
        if self.fault == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        url = f"http://{self.upstream}{request.rel_url}"
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                url,
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            body = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            if "Location" in kept:
                kept["Location"] = kept["Location"].replace(self.upstream, self.address)
            return await self._spoiled(request, answer.status, kept, body)

    async def _spoiled(
        self, request: web.Request, status: int, headers: dict[str, str], body: bytes
    ) -> web.StreamResponse:
        if request.method != "GET" or len(body) < 2 or self.fault not in {"lying", "truncated"}:
            return web.Response(status=status, headers=headers, body=body or None)
        if self.fault == "lying":
            return web.Response(status=status, headers=headers, body=body[:-1] + b"\n ")
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def vendor_proxy(upstream: str) -> AsyncIterator[VendorProxy]:
    """Run a proxy of the registry while the block lasts."""
    proxy = VendorProxy(upstream)
    await proxy.start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError, socket.error):
            await proxy.stop()
