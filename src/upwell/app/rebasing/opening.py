"""Opens the client, the scanner of layers and the writer of a rebase."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.inventory.files.scanning import FileScanner
from upwell.reconcilers.rebase.planning import RebasePlanner
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyAccess, ImageCopier
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile, ChainedCredentials
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.interface import RequestAccess
from upwell.registry.rebasing.reading import ImageReader
from upwell.registry.rebasing.writing import RebaseWriter


@dataclass(frozen=True, slots=True)
class RebaseSettings:
    """Logins, registry settings, and the folder that keeps what was found in layers."""

    auth_files: Sequence[Path] = ()
    registries: Sequence[RegistryHost] = ()
    insecure: bool = False
    cache: Path | None = None
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM files to trust by host name, where no registry's settings name one."""


@dataclass(frozen=True, slots=True)
class Rebaser:
    """Plans and writes rebases; a plan writes nothing.

    `copier` brings an image to another tag as it is, where nothing is to be rebased.
    """

    planner: RebasePlanner
    writer: RebaseWriter
    copier: ImageCopier


@asynccontextmanager
async def open_rebaser(settings: RebaseSettings) -> AsyncIterator[Rebaser]:
    """Open a rebaser; its connections are closed on the way out."""
    helpers = CredentialHelpers()
    logins = ChainedCredentials([AuthFile(path, helpers) for path in settings.auth_files])
    access = RequestAccess(insecure=settings.insecure)
    hosts = RegistryHosts(settings.registries, settings.authorities)
    async with RegistryClient(hosts, logins) as client:
        planner = RebasePlanner(ImageReader(client, access), FileScanner(settings.cache))
        pusher = RegistryPusher(client.connection)
        copier = ImageCopier(client, pusher, CopyAccess(access, access))
        yield Rebaser(planner, RebaseWriter(client, pusher, access), copier)
