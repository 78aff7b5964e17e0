"""Composes the client of registries, for commands that stand alone."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import (
    AuthConfig,
    AuthFile,
    ChainedCredentials,
    SecretCredentials,
)
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.interface import Credential, RequestAccess


@dataclass(frozen=True, slots=True)
class RegistryClientSettings:
    """Logins and settings of registries; `insecure` allows plain HTTP at all of them."""

    auth_files: Sequence[Path] = ()
    registries: Sequence[RegistryHost] = ()
    insecure: bool = False
    authorities: Mapping[str, Path] = field(default_factory=dict)
    """PEM files to trust by host name, where no registry's settings name one."""
    logins: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    """Logins by registry, where no auth file has one."""

    @property
    def access(self) -> RequestAccess:
        """Access of each request."""
        return RequestAccess(insecure=self.insecure)


@asynccontextmanager
async def open_registry_client(settings: RegistryClientSettings) -> AsyncIterator[RegistryClient]:
    """Open a client; its connections are closed on the way out."""
    helpers = CredentialHelpers()
    files = (AuthFile(path, helpers) for path in settings.auth_files)
    logins = ChainedCredentials([*files, SecretCredentials(AuthConfig(settings.logins))])
    hosts = RegistryHosts(settings.registries, settings.authorities)
    async with RegistryClient(unrestricted(), hosts, logins) as client:
        yield client
