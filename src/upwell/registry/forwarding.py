"""A registry that asks another one; those that change one thing about it begin here."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.registry.interface import DEFAULT_ACCESS, Credential, Registry, RequestAccess


class ForwardingRegistry:
    """Implements Registry by the one that `_for` names for a reference."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def _for(self, reference: Reference) -> Registry:
        """Return the registry to ask; the only one, unless a subclass knows more."""
        del reference
        return self._registry

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return what `reference` names now."""
        return await self._for(reference).resolve(reference, access)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Fetch and verify a manifest or index."""
        return await self._for(reference).manifest(reference, access)

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Fetch and verify a blob of at most `limit` bytes."""
        return await self._for(reference).blob(reference, digest, limit, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob."""
        return self._for(reference).open_blob(reference, digest, access)

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        """Return the logins that may be sent for `reference`."""
        return await self._for(reference).logins(reference, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List the tags of a repository."""
        return await self._for(reference).tags(reference, access)

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        """List the manifests whose subject is the digest of `reference`."""
        return await self._for(reference).referrers_of(reference, access)
