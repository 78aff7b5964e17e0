"""A way to the API server of a cluster that stops passing, for one process that goes by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.kubernetes.cluster import KitCluster

_PIECE_BYTES = 64 * 1024


@dataclass
class ApiServerRelay:
    """Passes bytes both ways; once it is cut, no connection ends, and nothing arrives.

    When it is joined again, all that was sent meanwhile arrives, late.
    """

    host: str
    port: int
    kubeconfig: Path
    """The administrator's, by this way."""
    _passes: asyncio.Event = field(default_factory=asyncio.Event)
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        self._passes.clear()

    def join(self) -> None:
        self._passes.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side ends it."""
        self._clients.add(writer)
        await self._passes.wait()
        with suppress(OSError):
            there, back = await asyncio.open_connection(self.host, self.port)
            pumps = [self._pump(reader, back), self._pump(there, writer)]
            with suppress(BaseExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    for pump in pumps:
                        group.create_task(pump)
            back.close()
        self._clients.discard(writer)
        writer.close()

    def end(self) -> None:
        """End all connections."""
        self.join()
        for writer in self._clients:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await self._passes.wait()
            writer.write(piece)
            await writer.drain()
        raise EOFError  # the other direction ends, too


@asynccontextmanager
async def api_server_relay(cluster: KitCluster, folder: Path) -> AsyncIterator[ApiServerRelay]:
    """Give a way to the cluster of its own, whose kubeconfig lies in `folder`."""
    place = urlsplit(cluster.base_url)
    assert place.hostname is not None
    assert place.port is not None
    relay = ApiServerRelay(place.hostname, place.port, folder / "kubeconfig")
    relay.join()
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _write_kubeconfig(cluster, relay.kubeconfig, f"https://127.0.0.1:{port}")
    try:
        yield relay
    finally:
        server.close()
        relay.end()
        await server.wait_closed()


def _write_kubeconfig(cluster: KitCluster, path: Path, url: str) -> None:
    text = cluster.kubeconfig.read_text()
    assert cluster.base_url in text
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace(cluster.base_url, url))
