"""Git's own HTTP service behind a password, and servers of Git LFS, on loopback."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


@asynccontextmanager
async def git_http_backend(
    folder: Path, user: str, password: str, **environment: str
) -> AsyncIterator[str]:
    """Serve the repositories in a folder to one user; give its `HOST:PORT`.

    The service has `environment` besides what each request says (git-http-backend(1)).
    """
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            env={
                "PATH": os.defpath,
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": request.method,
                "PATH_INFO": request.path,
                "QUERY_STRING": request.query_string,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                **environment,
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(await request.read())
        head, _, body = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, body=body, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with _served(application) as place:
        yield place


@asynccontextmanager
async def large_files(content: bytes, at: str = "") -> AsyncIterator[str]:
    """Serve one object of Git LFS below `/lfs`; give its `HOST:PORT`.

    Its content is at the server's own address, or at the URL `at`.
    """

    async def batch(request: web.Request) -> web.Response:
        document = await request.json()
        href = at or f"http://{request.host}/object"
        objects = [{**one, "actions": {"download": {"href": href}}} for one in document["objects"]]
        answer = {"transfer": "basic", "objects": objects}
        return web.json_response(answer, content_type="application/vnd.git-lfs+json")

    async def download(_: web.Request) -> web.Response:
        return web.Response(body=content)

    application = web.Application()
    application.router.add_post("/lfs/objects/batch", batch)
    application.router.add_get("/object", download)
    async with _served(application) as place:
        yield place


@asynccontextmanager
async def _served(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
