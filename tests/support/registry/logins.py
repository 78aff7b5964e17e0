"""Logins at registries that tests name."""

from dataclasses import dataclass

from upwell.oci import Reference
from upwell.registry.interface import Credential, RequestAccess


@dataclass(frozen=True)
class OneLogin:
    """Implements CredentialSource: the same login at every registry, or none."""

    credential: Credential | None

    async def find(self, registry: str, repository: str) -> Credential | None:
        assert registry
        assert repository
        return self.credential


async def logins_at(reference: Reference, access: RequestAccess) -> tuple[Credential, ...]:
    """Return the login that goes to a registry without mirrors, if there is one."""
    source = access.credentials
    login = None if source is None else await source.find(reference.registry, reference.repository)
    return () if login is None else (login,)
