"""The API and the reconciler of ImageStreams, with a real registry upstream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.server.api_server import Api, ApiAnswer, serving

from upwell.api.image import ImageStream, NamedTagEventList
from upwell.outbound.dialing import unrestricted
from upwell.reconcilers.images.image_streams import ImageStreams, image_stream_controller
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.routed import RoutedRegistry
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import NotFoundError

GROUP = "/apis/image.openshift.io/v1/namespaces/shop"
INTERNAL = "registry.internal:5000"


@dataclass(frozen=True)
class StreamApi:
    api: Api
    client: RegistryClient
    internal: EmbeddedRegistry
    streams: ImageStreams

    @property
    def pusher(self) -> RegistryPusher:
        return RegistryPusher(self.client.connection)

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> ApiAnswer:
        return await self.api.send(method, f"{GROUP}/{path}", body, content_type)

    async def stream(self, name: str) -> ImageStream:
        return await self.api.store.get(ImageStream, "shop", name)

    async def tag(
        self, stream: str, tag: str, reached: Callable[[NamedTagEventList], bool]
    ) -> NamedTagEventList:
        """Wait until a tag is as wished."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(NotFoundError):
                    found = (await self.stream(stream)).status.tag(tag)
                    if found is not None and reached(found):
                        return found
                await asyncio.sleep(0.01)

    async def reconciled(self, name: str) -> None:
        """Wait until the reconciler has seen a stream."""
        async with asyncio.timeout(60):
            while True:
                if (await self.stream(name)).status.docker_image_repository:
                    return
                await asyncio.sleep(0.01)

    async def imported(self, stream: str, tag: str) -> str:
        """Wait until a tag has an image, and return its digest."""
        history = await self.tag(stream, tag, lambda found: found.latest is not None)
        assert history.latest is not None
        return history.latest.image


@contextlib.asynccontextmanager
async def open_stream_api(folder: Path, *hosts: RegistryHost) -> AsyncIterator[StreamApi]:
    async with RegistryClient(unrestricted(), RegistryHosts(hosts)) as client:
        internal = EmbeddedRegistry(folder / "own", INTERNAL)
        registries = RoutedRegistry(internal, client)
        async with serving(ServerLimits(), internal=internal, upstream=registries) as api:
            streams = api.behind.streams
            controller = image_stream_controller(streams, api.behind.cache)
            running = asyncio.create_task(controller.run())
            try:
                yield StreamApi(api, client, internal, streams)
            finally:
                running.cancel()
                await asyncio.wait([running])
