"""A registry of one repository that behaves as it is told, and remembers what it was asked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web
from tests.support.ports import free_port
from tests.support.registry.docker_registry import CONFIG, image_manifest

from upwell.oci import Manifest

REPOSITORY = "vendor/app"

type Answer = Callable[["FaultyRegistry", web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class RegistryRequestRecord:
    """A request: its method, what it was for, when it came (monotonic seconds), the answer."""

    method: str
    target: str
    at: float
    status: int


@dataclass
class FaultyRegistry:
    """Serves the newest of its images as tag 1, and all by digest, unless it misbehaves."""

    port: int = field(default_factory=free_port)
    misbehave: Answer | None = None
    images: list[Manifest] = field(default_factory=list)
    asked: list[RegistryRequestRecord] = field(default_factory=list)
    is_down: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def publish(self) -> str:
        """Make a new image the newest; return its digest."""
        # Of no other registry's digests: what is known of an image is known of it everywhere.
        author = f"registry {self.port}, image {len(self.images)}"
        image = image_manifest(json.dumps({**json.loads(CONFIG), "author": author}).encode())
        self.images.append(image)
        return str(image.digest)

    def count(self, method: str, target: str, status: int = 200) -> int:
        wanted = (method, target, status)
        return sum((one.method, one.target, one.status) == wanted for one in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        respond = self.misbehave or well
        response = await respond(self, request)
        target = request.path.removeprefix(f"/v2/{REPOSITORY}/manifests/")
        self.asked.append(RegistryRequestRecord(request.method, target, at, response.status))
        return response


async def well(registry: FaultyRegistry, request: web.Request) -> web.StreamResponse:
    target = request.path.rpartition("/")[2]
    newest = registry.images[-1:] if target == "1" else []
    for image in [*newest, *registry.images]:
        if target in {"1", str(image.digest)}:
            headers = {"Docker-Content-Digest": str(image.digest)}
            return web.Response(body=image.raw, content_type=str(image.media_type), headers=headers)
    return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)


def status(code: int, **headers: str) -> Answer:
    """Answer everything with this status."""

    async def answer(_: FaultyRegistry, __: web.Request) -> web.StreamResponse:
        return web.Response(
            status=code, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    return answer


async def garbage(_: FaultyRegistry, __: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\0\xff not JSON", content_type="text/html")


async def other_content(registry: FaultyRegistry, request: web.Request) -> web.StreamResponse:
    """Promise one digest and give the bytes of another."""
    if request.method == "HEAD":
        return await well(registry, request)
    image = image_manifest(CONFIG + b"\n")
    return web.Response(body=image.raw, content_type=str(image.media_type))


async def endless(registry: FaultyRegistry, request: web.Request) -> web.StreamResponse:
    if request.method == "HEAD":
        return await well(registry, request)
    response = web.StreamResponse(headers={"Content-Type": str(registry.images[0].media_type)})
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b" " * 65536)
    return response


def held_until(released: asyncio.Event) -> Answer:
    """Answer well, but not before the event."""

    async def answer(registry: FaultyRegistry, request: web.Request) -> web.StreamResponse:
        await released.wait()
        return await well(registry, request)

    return answer


@asynccontextmanager
async def unruly_registry(port: int = 0) -> AsyncIterator[FaultyRegistry]:
    registry = FaultyRegistry(port=port) if port else FaultyRegistry()
    async with listening(registry):
        yield registry


@asynccontextmanager
async def listening(registry: FaultyRegistry) -> AsyncIterator[None]:
    """Answer while the block lasts; afterwards connections are refused."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", registry.port, reuse_address=True)
    await site.start()
    try:
        yield
    finally:
        await runner.cleanup()
