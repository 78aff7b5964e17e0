"""Logins at registries that tests name."""

from dataclasses import dataclass

from upwell.registry.interface import Credential


@dataclass(frozen=True)
class OneLogin:
    """Implements CredentialSource: the same login at every registry, or none."""

    credential: Credential | None

    async def find(self, registry: str, repository: str) -> Credential | None:
        assert registry
        assert repository
        return self.credential
