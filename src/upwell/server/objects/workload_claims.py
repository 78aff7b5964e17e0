"""Workloads of Pipelines: none that another Pipeline has."""

from collections.abc import Sequence

from upwell.api.codec import InvalidObjectError
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.promotion.claims import new_claims
from upwell.policy.promotion.stages import STAGED, namespace_of
from upwell.store.interface import Selector, Store, StoreError

_FORBIDDEN = "Forbidden"
"""Reason of the error with which a cluster's store answers what its account may not read."""


async def require_free_workloads(store: Store, resource: Resource, old: Resource | None) -> None:
    """Raise InvalidObjectError for a Pipeline that names workloads which another one has."""
    if not isinstance(resource, Pipeline):
        return
    before = old if isinstance(old, Pipeline) else None
    if before is not None and before.spec == resource.spec:
        return
    pipelines = (await store.list(Pipeline)).items
    others = [one for one in pipelines if one.key != resource.key and not one.is_deleting]
    if not others:
        return
    faults = tuple(new_claims(resource, before, others, await _workloads(store, resource)))
    if faults:
        raise InvalidObjectError(f"{resource.KIND} {resource.name!r}", faults)


async def _workloads(store: Store, pipeline: Pipeline) -> list[Resource]:
    """Return the workloads that exist where the stages of a Pipeline are.

    What the server may not read in a cluster it sets in no stage either.
    """
    wanted = {
        (entry.kind, namespace_of(pipeline, stage))
        for stage in pipeline.spec.stages
        for entry in stage.workloads
    }
    found: list[Resource] = []
    for kind in STAGED:
        for name, namespace in wanted:
            if name == kind.KIND.kind:
                found += await _readable(store, kind, namespace)
    return found


async def _readable(store: Store, kind: type[Resource], namespace: str) -> Sequence[Resource]:
    try:
        return (await store.list(kind, Selector(namespace))).items
    except StoreError as error:
        if error.reason != _FORBIDDEN:
            raise
        return ()
