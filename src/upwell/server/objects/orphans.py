"""Deletion of an object alone: what it owns stays, and belongs to nobody."""

from collections.abc import Collection, Sequence

from upwell.api.apps import Job
from upwell.api.codec import RESOURCES
from upwell.api.meta import Resource
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.server.http.errors import ApiError
from upwell.store.interface import NotFoundError, Selector, Store
from upwell.store.retry import update_with_retry


def require_orphans(owner: Resource) -> None:
    """Raise ApiError for an object whose instances would go on without anybody to watch them."""
    if isinstance(owner, (*WORKLOADS, Job)):
        raise ApiError(
            400,
            f"{owner.key} was not deleted: its instances end with it, and cannot stay behind"
            " (propagationPolicy Orphan). Delete it without --cascade=orphan",
            key=owner.key,
        )


async def orphan_dependents(store: Store, owners: Sequence[Resource]) -> None:
    """Take the owners' names from all that belongs to them, so that their deletion leaves it.

    What there is is listed once for each namespace, however many owners are in it.
    """
    uids = {owner.uid for owner in owners}
    kinds = [one for one in RESOURCES if one.KIND.is_stored and one.KIND.namespaced]
    for namespace in sorted({owner.namespace for owner in owners}):
        for resource in kinds:
            for item in (await store.list(resource, Selector(namespace))).items:
                if any(one.uid in uids for one in item.metadata.owner_references):
                    await _release(store, item, uids)


async def _release(store: Store, item: Resource, uids: Collection[str]) -> None:
    async def freed() -> Resource:
        found = await store.get(type(item), item.namespace, item.name)
        kept = tuple(one for one in found.metadata.owner_references if one.uid not in uids)
        return found.with_metadata(owner_references=kept)

    try:
        await update_with_retry(freed, store.update)
    except NotFoundError:
        return  # it was deleted meanwhile
