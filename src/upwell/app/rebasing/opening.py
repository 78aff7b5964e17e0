"""Opens the client, the scanner of layers and the writer of a rebase."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from upwell.app.registries.client import RegistryClientSettings, open_registry_client
from upwell.inventory.files.scanning import FileScanner
from upwell.reconcilers.rebase.planning import KnownBases, RebasePlanner
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyAccess, ImageCopier
from upwell.registry.rebasing.reading import ImageReader
from upwell.registry.rebasing.writing import RebaseWriter


@dataclass(frozen=True, slots=True)
class Rebaser:
    """Plans and writes rebases; a plan writes nothing.

    `copier` brings an image to another tag as it is, where nothing is to be rebased.
    """

    planner: RebasePlanner
    writer: RebaseWriter
    copier: ImageCopier


@asynccontextmanager
async def open_rebaser(
    settings: RegistryClientSettings, cache: Path | None, known: KnownBases | None = None
) -> AsyncIterator[Rebaser]:
    """Open a rebaser; its connections are closed on the way out.

    `cache` is the folder that keeps what was found in layers; None: none does. `known` finds bases
    that nobody has named.
    """
    access = settings.access
    async with open_registry_client(settings) as client:
        planner = RebasePlanner(ImageReader(client, access), FileScanner(cache), known)
        pusher = RegistryPusher(client.connection)
        copier = ImageCopier(client, pusher, CopyAccess(access, access))
        yield Rebaser(planner, RebaseWriter(client, pusher, access), copier)
