"""LimitRanges at admission: defaults for new templates and builds, and their bounds."""

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import CLAIM, CONTAINER, IMAGE_STREAM, POD, LimitRange
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.policy.quotas.limit_ranges import (
    Bounds,
    bounds_of,
    changed_templates,
    violations,
    with_defaults,
)
from upwell.server.http.errors import ApiError
from upwell.store.interface import Selector, Store

_MAX_FAULTS = 10


async def within_limit_ranges(store: Store, resource: Resource, old: Resource | None) -> Resource:
    """Return the object with defaults; raises ApiError 403 for what is not within bounds.

    As in Kubernetes, a LimitRange that comes later leaves what is stored as it is.
    """
    namespaces = {one.namespace for one in changed_templates(resource, old)}
    if isinstance(resource, Build | BuildConfig | ImageStream):
        namespaces.add(resource.namespace)
    if not namespaces:
        return resource
    bounds = {one: await _bounds(store, one) for one in namespaces}
    if not any(bounds.values()):
        return resource
    resource = with_defaults(resource, old, bounds)
    if faults := [str(fault) for fault in violations(resource, old, bounds)]:
        more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
        why = "; ".join(faults[:_MAX_FAULTS]) + more
        raise ApiError(403, f"{resource.key} is forbidden: {why}", key=resource.key)
    return resource


async def _bounds(store: Store, namespace: str) -> tuple[Bounds, ...]:
    ranges = (await store.list(LimitRange, Selector(namespace))).items
    return tuple(bounds_of(ranges, CONTAINER, POD, CLAIM, IMAGE_STREAM))
