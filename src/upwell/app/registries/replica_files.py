"""Files on their way to where replicas share them, and how a registry's refusals are told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from upwell.registry.client.push import OpenContent
from upwell.registry.errors import RegistryError, RegistryRejectedError, UnauthorizedError

_CHUNK = 1024 * 1024
_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

type ListNamespaces = Callable[[], Awaitable[Collection[str]]]
"""Lists the namespaces that may have something in the registry."""


@asynccontextmanager
async def file_content(file: Path) -> AsyncIterator[OpenContent]:
    """Give the bytes of a file, as often as they must be sent, for the time of the block."""
    streams: list[AsyncGenerator[bytes]] = []

    def opened() -> AsyncIterator[bytes]:
        streams.append(_pieces(file))
        return streams[-1]

    try:
        yield opened
    finally:
        for stream in streams:
            await stream.aclose()


async def _pieces(file: Path) -> AsyncGenerator[bytes]:
    """Yield the bytes of a file, read beside the event loop."""
    with await asyncio.to_thread(file.open, "rb") as source:
        while piece := await asyncio.to_thread(source.read, _CHUNK):
            yield piece


def refusal_at(place: str, error: RegistryError) -> str:
    """Return where replicas share something, why that fails and, where it lasts, the next step."""
    why = str(error)
    if isinstance(error, UnauthorizedError):
        why = f"{error.refusal}; let the server's login pull from and push to {place}"
    elif isinstance(error, RegistryRejectedError) and error.status == _TOO_LARGE:
        why = f"{why}; let that registry, and a proxy before it, take larger bodies"
    return f"{place}, and {why}"
