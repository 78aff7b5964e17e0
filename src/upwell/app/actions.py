"""What people ask for through the API, handed to the reconcilers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.build import BinaryInput, Build
from upwell.reconcilers.builds.requests import BuildRequests


@dataclass(frozen=True, slots=True)
class ReconcilerActions:
    """What people ask for through the API, handed to the reconcilers."""

    builds: BuildRequests

    async def instantiate(
        self, namespace: str, build_config: str, request: Mapping[str, Any]
    ) -> Build:
        """Start a build now."""
        return await self.builds.instantiate(namespace, build_config, request)

    async def instantiate_binary(
        self, namespace: str, build_config: str, upload: BinaryInput, *, unless_built: bool
    ) -> Build:
        """Start a build of an upload now."""
        return await self.builds.instantiate_binary(
            namespace, build_config, upload, unless_built=unless_built
        )

    async def clone(self, namespace: str, build: str, request: Mapping[str, Any]) -> Build:
        """Make a build again now."""
        return await self.builds.clone(namespace, build, request)
