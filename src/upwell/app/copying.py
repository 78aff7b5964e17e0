"""Composes what copies images between registries, for the command line."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.copying import CopyAccess, ImageCopier, Report, WantsPlatform
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile, ChainedCredentials
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.interface import RequestAccess


@dataclass(frozen=True, slots=True)
class CopySettings:
    """Logins and registry settings of a copy; `insecure` allows plain HTTP on both sides."""

    auth_files: Sequence[Path] = ()
    registries: Sequence[RegistryHost] = ()
    insecure: bool = False
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM files to trust by host name, where no registry's settings name one."""


@asynccontextmanager
async def open_copier(
    settings: CopySettings, report: Report, platforms: WantsPlatform | None
) -> AsyncIterator[ImageCopier]:
    """Open a copier; its connections are closed on the way out."""
    helpers = CredentialHelpers()
    logins = ChainedCredentials([AuthFile(path, helpers) for path in settings.auth_files])
    access = RequestAccess(insecure=settings.insecure)
    hosts = RegistryHosts(settings.registries, settings.authorities)
    async with RegistryClient(hosts, logins) as client:
        pusher = RegistryPusher(client.connection)
        yield ImageCopier(client, pusher, CopyAccess(access, access), report, platforms)
