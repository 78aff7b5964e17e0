"""Manifests of remote registries, remembered by digest: each counts against pull limits once."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess

DEFAULT_MAX_BYTES = 32 * 1024 * 1024


class CachingRegistry:
    """Implements Registry by asking `remote`, but for no manifest that it fetched before.

    The import, the index of packages and the mirror all need the manifest of a new base. What a
    digest names never changes, so nothing that is kept gets stale; beyond `max_bytes` of raw
    manifests, the one that was not asked for longest is forgotten.
    """

    def __init__(self, remote: Registry, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._remote = remote
        self._max_bytes = max_bytes
        self._manifests: OrderedDict[tuple[str, Digest], Manifest | Index] = OrderedDict()
        self._bytes = 0

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return what `reference` names now."""
        return await self._remote.resolve(reference, access)

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Return a manifest or index: from memory, if it is named by digest and was read before."""
        # The repository is part of the key: who may read it in one may not read it in another.
        if reference.digest is not None:
            key = (reference.name, reference.digest)
            if key in self._manifests:
                self._manifests.move_to_end(key)
                return self._manifests[key]
        found = await self._remote.manifest(reference, access)
        self._keep((reference.name, found.digest), found)
        return found

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Fetch and verify a blob of at most `limit` bytes."""
        return await self._remote.blob(reference, digest, limit, access)

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob."""
        return self._remote.open_blob(reference, digest, access)

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List the tags of a repository."""
        return await self._remote.tags(reference, access)

    def _keep(self, key: tuple[str, Digest], found: Manifest | Index) -> None:
        if key in self._manifests:
            return
        self._manifests[key] = found
        self._bytes += len(found.raw)
        while self._bytes > self._max_bytes:
            _, oldest = self._manifests.popitem(last=False)
            self._bytes -= len(oldest.raw)
