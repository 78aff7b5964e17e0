"""A registry that counts how often it is asked what a tag names, and how that fails."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.registry.errors import RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.server.metrics.metrics import Metrics


class CountedRegistry:
    """Implements Registry by another one."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return what `reference` names now."""
        try:
            found = await self._registry.resolve(reference, access)
        except RegistryError as error:
            self._metrics.count_check(reference.registry, error.reason)
            raise
        self._metrics.count_check(reference.registry)
        return found

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Fetch and verify a manifest or index."""
        return await self._registry.manifest(reference, access)

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Fetch and verify a blob of at most `limit` bytes."""
        return await self._registry.blob(reference, digest, limit, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob."""
        return self._registry.open_blob(reference, digest, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List the tags of a repository."""
        return await self._registry.tags(reference, access)
