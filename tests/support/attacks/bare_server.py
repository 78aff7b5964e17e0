"""Server on asyncio that answers all requests alike, and bounds nothing.

Attacked in the same ways on the same machine, it tells what part of a response time is the
machine's: nothing that is written in Python answers much sooner there.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from tests.support.ports import free_port

from upwell.machine.descriptors import raise_descriptor_limit

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
    writer.close()


async def _serve(port: int) -> None:
    raise_descriptor_limit()
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    print("ready", flush=True)  # noqa: T201 - the parent waits for it
    await server.serve_forever()


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[tuple[int, int]]:
    """Serve in a process of its own while the block lasts; gives its port and its pid."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.attacks.bare_server", str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield port, process.pid
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
