"""Manifests of remote registries, remembered by digest: each counts against pull limits once."""

from collections import OrderedDict
from typing import override

from upwell.oci import Digest, Index, Manifest, Reference
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.interface import DEFAULT_ACCESS, Credential, Registry, RequestAccess

DEFAULT_MAX_BYTES = 32 * 1024 * 1024

type _Key = tuple[str, Digest, tuple[Credential, ...]]


class CachingRegistry(ForwardingRegistry):
    """Implements Registry by asking `remote`, but for no manifest that it fetched before.

    The import, the index of packages and the mirror all need the manifest of a new base. What a
    digest names never changes, so nothing that is kept gets stale; beyond `max_bytes` of raw
    manifests, the one that was not asked for longest is forgotten.
    """

    def __init__(self, remote: Registry, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        super().__init__(remote)
        self._max_bytes = max_bytes
        self._manifests: OrderedDict[_Key, Manifest | Index] = OrderedDict()
        self._bytes = 0

    @override
    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Return a manifest or index: from memory, if it is named by digest and was read before."""
        # Repository and logins are parts of the key: who may read it in one, or with one, may not
        # read it in another, or without.
        logins = await self.logins(reference, access)
        if reference.digest is not None:
            key = (reference.name, reference.digest, logins)
            if key in self._manifests:
                self._manifests.move_to_end(key)
                return self._manifests[key]
        found = await self._registry.manifest(reference, access)
        self._keep((reference.name, found.digest, logins), found)
        return found

    def _keep(self, key: _Key, found: Manifest | Index) -> None:
        if key in self._manifests:
            return
        self._manifests[key] = found
        self._bytes += len(found.raw)
        while self._bytes > self._max_bytes:
            _, oldest = self._manifests.popitem(last=False)
            self._bytes -= len(oldest.raw)
