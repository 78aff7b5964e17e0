"""Composes what copies images between registries, for the command line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from upwell.app.registries.client import RegistryClientSettings, open_registry_client
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyAccess, ImageCopier, Report, WantsPlatform


@asynccontextmanager
async def open_copier(
    settings: RegistryClientSettings, report: Report, platforms: WantsPlatform | None
) -> AsyncIterator[ImageCopier]:
    """Open a copier; its connections are closed on the way out."""
    access = CopyAccess(settings.access, settings.access)
    async with open_registry_client(settings) as client:
        pusher = RegistryPusher(client.connection)
        yield ImageCopier(client, pusher, access, report, platforms)
