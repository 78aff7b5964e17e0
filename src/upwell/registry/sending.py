"""Blobs on their way from one registry to another: nothing is kept of them here."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from upwell.oci import Descriptor, Reference
from upwell.registry.announced import announced
from upwell.registry.client.push import RegistryPusher
from upwell.registry.interface import Registry, RequestAccess


@dataclass(frozen=True, slots=True)
class BlobSource:
    """Repository that blobs are read from, by the client and the access that read it."""

    registry: Registry
    repository: Reference
    access: RequestAccess

    async def send(
        self, blob: Descriptor, pusher: RegistryPusher, goal: Reference, access: RequestAccess
    ) -> None:
        """Send a blob to the repository of `goal`, as it is read; raises a RegistryError.

        What was opened is closed before this returns, however often the pusher began anew.
        """
        opened: list[AsyncGenerator[bytes]] = []

        def content() -> AsyncIterator[bytes]:
            opened.append(self._content(blob))
            return opened[-1]

        try:
            await pusher.push_blob(goal, blob, content, access)
        finally:
            for stream in opened:
                await stream.aclose()

    async def _content(self, blob: Descriptor) -> AsyncGenerator[bytes]:
        async with self.registry.open_blob(self.repository, blob.digest, self.access) as chunks:
            async for chunk in announced(chunks, blob, self.repository.name):
                yield chunk
