"""A server that takes every request and never answers: what asks it waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 64 * 1024


class SilentServer:
    """Says who waits."""

    def __init__(self) -> None:
        self.address = ""
        self.asked = 0
        """Connections, those that have ended included."""
        self._open: set[asyncio.StreamWriter] = set()

    async def connections(self) -> int:
        """Return how many clients wait."""
        return len(self._open)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.asked += 1
        try:
            while await reader.read(_CHUNK):
                pass
        except ConnectionError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def silent_server() -> AsyncIterator[SilentServer]:
    silence = SilentServer()
    server = await asyncio.start_server(silence.listen, "127.0.0.1", 0)
    silence.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield silence
    finally:
        server.close()
        silence.hang_up()
