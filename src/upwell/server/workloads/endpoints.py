"""Endpoints and EndpointSlices to read and to watch, made from Services and what runs."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from upwell.api.core import Service
from upwell.api.meta import ObjectKey, Resource
from upwell.api.networking.endpoints import Endpoints, EndpointSlice
from upwell.api.pod import Pod
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.routing.endpoint_views import endpoint_slices_of, endpoints_of
from upwell.policy.routing.selection import Member, Members
from upwell.server.workloads.view_feed import ViewFeed
from upwell.store.interface import Reader, UnavailableError
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Runtime

type _View = Callable[[Service, Sequence[Member]], Iterable[Resource]]


def endpoint_feeds(
    runtime: Runtime | None, objects: Reader, started: datetime
) -> tuple[ViewFeed, ViewFeed]:
    """Return the feeds of both kinds."""

    def one(service: Service, members: Sequence[Member]) -> Iterable[Resource]:
        return (endpoints_of(service, members),)

    return (
        _feed(Endpoints, one, runtime, objects, started),
        _feed(EndpointSlice, endpoint_slices_of, runtime, objects, started),
    )


def _feed(
    kind: type[Resource],
    view: _View,
    runtime: Runtime | None,
    objects: Reader,
    started: datetime,
) -> ViewFeed:
    async def observe() -> Iterable[Resource]:
        members = await _members(runtime, objects)
        services = (await objects.list(Service)).items
        return [
            found
            for service in services
            if service.spec.selector
            for found in view(service, members.of(service))
        ]

    sources = (runtime.changes, lambda: objects.watch(Service)) if runtime is not None else ()
    return ViewFeed(kind, observe, sources, started)


async def _members(runtime: Runtime | None, objects: Reader) -> Members:
    if runtime is None:
        raise UnavailableError("no container runtime is configured")
    try:
        instances = await runtime.instances()
    except WorkloadError as error:
        raise UnavailableError(str(error)) from error
    workloads: dict[ObjectKey, Workload] = {}
    for kind in WORKLOADS:
        workloads.update({one.key: one for one in (await objects.list(kind)).items})
    pods = (await objects.list(Pod)).items
    return Members(instances, workloads, {one.key: one for one in pods if not one.is_deleting})
