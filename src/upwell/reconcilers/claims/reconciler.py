"""Binds PersistentVolumeClaims.

A claim is served by a folder of the data folder, which its first use makes: there is no volume to
wait for. Its deletion deletes the object alone; the data stay, as with reclaimPolicy Retain.
"""

from upwell.api.core import STORAGE
from upwell.api.meta import ObjectKey
from upwell.api.storage import PersistentVolumeClaim, PersistentVolumeClaimStatus
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.store.interface import NotFoundError, Store

_BOUND = "Bound"


class PersistentVolumeClaims:
    """Writes the status of claims."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bind the claim that `key` names, with the capacity that it asks for."""
        try:
            claim = await self._store.get(PersistentVolumeClaim, key.namespace, key.name)
        except NotFoundError:
            return Result()
        asked = claim.spec.resources.requests
        status = PersistentVolumeClaimStatus(
            phase=_BOUND,
            access_modes=claim.spec.access_modes,
            capacity={STORAGE: asked[STORAGE]} if STORAGE in asked else {},
        )
        if status != claim.status:
            await self._store.update_status(claim.with_status(status))
        return Result()


def claim_controller(cache: ObjectCache) -> Controller:
    """Return the controller of claims."""
    watches = (Watch(PersistentVolumeClaim),)
    return Controller("claims", PersistentVolumeClaims(cache.store), cache, watches)
