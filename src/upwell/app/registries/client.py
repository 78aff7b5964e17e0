"""Composes the client of registries, for commands that stand alone."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.registry.client.client import RegistryClient
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile, ChainedCredentials
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.interface import RequestAccess


@dataclass(frozen=True, slots=True)
class RegistryClientSettings:
    """Logins and settings of registries; `insecure` allows plain HTTP at all of them."""

    auth_files: Sequence[Path] = ()
    registries: Sequence[RegistryHost] = ()
    insecure: bool = False
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM files to trust by host name, where no registry's settings name one."""

    @property
    def access(self) -> RequestAccess:
        """Access of each request."""
        return RequestAccess(insecure=self.insecure)


@asynccontextmanager
async def open_registry_client(settings: RegistryClientSettings) -> AsyncIterator[RegistryClient]:
    """Open a client; its connections are closed on the way out."""
    helpers = CredentialHelpers()
    logins = ChainedCredentials([AuthFile(path, helpers) for path in settings.auth_files])
    hosts = RegistryHosts(settings.registries, settings.authorities)
    async with RegistryClient(hosts, logins) as client:
        yield client
