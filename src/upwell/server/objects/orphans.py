"""Deletion of an object alone: what it owns stays, and belongs to nobody."""

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


async def orphan_dependents(store: Store, owner: Resource) -> None:
    """Take the owner's name from all that belongs to it, so that its deletion leaves them."""
    for resource in RESOURCES:
        if not resource.KIND.is_stored or not resource.KIND.namespaced:
            continue
        for item in (await store.list(resource, Selector(owner.namespace))).items:
            if any(one.uid == owner.uid for one in item.metadata.owner_references):
                await _release(store, item, owner.uid)


async def _release(store: Store, item: Resource, uid: str) -> None:
    async def freed() -> Resource:
        found = await store.get(type(item), item.namespace, item.name)
        kept = tuple(one for one in found.metadata.owner_references if one.uid != uid)
        return found.with_metadata(owner_references=kept)

    try:
        await update_with_retry(freed, store.update)
    except NotFoundError:
        return  # it was deleted meanwhile
