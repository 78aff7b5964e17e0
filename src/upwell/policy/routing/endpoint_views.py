"""Endpoints and EndpointSlices of a Service, from the instances that it selects; pure."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from upwell.api.core import Service
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.networking.endpoints import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
)
from upwell.api.pod import Pod
from upwell.policy.routing.selection import Member
from upwell.policy.routing.table import port_number_in
from upwell.workload.interface import Instance

_SERVICE_LABEL = "kubernetes.io/service-name"
_DIGITS = 5

type _Ports = tuple[tuple[str | None, int, str], ...]


def endpoints_of(service: Service, members: Sequence[Member]) -> Endpoints:
    """Return the addresses of a Service under its own name."""
    subsets = [
        EndpointSubset(
            addresses=tuple(_address(one) for one in instances if one.ready),
            not_ready_addresses=tuple(_address(one) for one in instances if not one.ready),
            ports=_listed(ports),
        )
        for ports, instances in _by_ports(service, members)
    ]
    return Endpoints(
        api_version=Endpoints.KIND.api_version,
        kind=Endpoints.KIND.kind,
        metadata=_metadata(service, service.name, Endpoints.KIND.kind),
        subsets=tuple(subsets),
    )


def endpoint_slices_of(service: Service, members: Sequence[Member]) -> Iterator[EndpointSlice]:
    """Yield the addresses of a Service, those with the same ports together."""
    for ports, instances in _by_ports(service, members):
        digest = hashlib.sha256(f"{service.uid} {ports}".encode()).hexdigest()[:_DIGITS]
        name = f"{service.name}-{digest}"
        metadata = _metadata(service, name, f"{EndpointSlice.KIND.kind} {ports}")
        labels = {**service.labels, _SERVICE_LABEL: service.name}
        yield EndpointSlice(
            api_version=EndpointSlice.KIND.api_version,
            kind=EndpointSlice.KIND.kind,
            metadata=metadata.model_copy(
                update={"labels": labels, "owner_references": (service.owner_reference(),)}
            ),
            endpoints=tuple(
                Endpoint(
                    addresses=(one.address,),
                    conditions=EndpointConditions(ready=one.ready, serving=one.ready),
                    target_ref=_pod(one),
                )
                for one in instances
            ),
            ports=_listed(ports),
        )


def _by_ports(
    service: Service, members: Sequence[Member]
) -> Iterator[tuple[_Ports, list[Instance]]]:
    """Yield the instances that have an address, by the numbers of their ports."""
    found = [(_ports(service, one), one.instance) for one in members if one.instance.address]
    for ports, several in groupby(sorted(found, key=lambda one: repr(one[0])), lambda one: one[0]):
        yield ports, [instance for _, instance in several]


def _ports(service: Service, member: Member) -> _Ports:
    return tuple(
        (port.name, number, port.protocol)
        for port in service.spec.ports
        if (number := port_number_in(port, member.template)) is not None
    )


def _listed(ports: _Ports) -> tuple[EndpointPort, ...]:
    return tuple(
        EndpointPort(name=name, port=number, protocol=protocol) for name, number, protocol in ports
    )


def _address(instance: Instance) -> EndpointAddress:
    return EndpointAddress(ip=instance.address, target_ref=_pod(instance))


def _pod(instance: Instance) -> ObjectReference:
    owner = instance.owner
    name = owner.name if owner.kind == Pod.KIND.kind else instance.name
    return ObjectReference(kind=Pod.KIND.kind, name=name, namespace=owner.namespace)


def _identity(what: str) -> str:
    """Return a uid that follows from what it is of, in the form of a UUID."""
    digits = hashlib.sha256(what.encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def _metadata(service: Service, name: str, what: str) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=service.namespace,
        uid=_identity(f"{service.uid} {what}"),
        creation_timestamp=service.metadata.creation_timestamp,
        labels=dict(service.labels),
    )
