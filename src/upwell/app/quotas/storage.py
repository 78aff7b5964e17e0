"""Quotas of what is stored: their limits for the adapters, and what is used for their status."""

from collections.abc import Mapping
from decimal import Decimal

from upwell.api.core import BUILD_STORAGE, IMAGE_STORAGE, UPLOAD_STORAGE
from upwell.oci.replica_contents import is_replica_content
from upwell.policy.quotas.usage import Usage, least
from upwell.reconcilers.builds.room import BuildRooms, FindLimit
from upwell.reconcilers.quotas.reconciler import Measure
from upwell.registry.hosting import FindQuota, ServedRegistry, StorageQuota
from upwell.registry.mirror import is_mirror
from upwell.server.admission.quota import NamespaceQuotas
from upwell.store.interface import Store
from upwell.uploads.interface import BinaryInputs, FindUploadQuota, UploadQuota


def image_quotas(store: Store, defaults: Usage) -> FindQuota:
    """Return what finds the quota of a repository.

    Copies of upstream images are everybody's, and what replicas share has quotas of its own.
    """
    quotas = NamespaceQuotas(store, defaults)

    async def find(repository: str) -> StorageQuota | None:
        if is_mirror(repository) or is_replica_content(repository):
            return None
        limits = await quotas.limits(repository.partition("/")[0])
        found = least(limits, IMAGE_STORAGE)
        return None if found is None else StorageQuota(found[0], int(found[1]))

    return find


def build_limit(store: Store, defaults: Usage) -> FindLimit:
    """Return what finds the quota of the builds of a namespace."""
    quotas = NamespaceQuotas(store, defaults)

    async def find(namespace: str) -> tuple[str, Decimal] | None:
        return least(await quotas.limits(namespace), BUILD_STORAGE)

    return find


def upload_quotas(store: Store, defaults: Usage) -> FindUploadQuota:
    """Return what finds the quota of a namespace's uploads: for builds, and evidence of tests."""
    quotas = NamespaceQuotas(store, defaults)

    async def find(namespace: str) -> UploadQuota | None:
        found = least(await quotas.limits(namespace), UPLOAD_STORAGE)
        return None if found is None else UploadQuota(found[0], int(found[1]))

    return find


def measures(
    registry: ServedRegistry | None, rooms: BuildRooms, uploads: BinaryInputs
) -> Mapping[str, Measure]:
    """Return what measures that which no object takes.

    Without a registry here, images take nothing that anybody could measure.
    """
    images = {} if registry is None else {IMAGE_STORAGE: registry.storage_used}
    return {
        **images,
        BUILD_STORAGE: rooms.used,
        UPLOAD_STORAGE: uploads.used,
    }
