"""Addresses at which a Service is served, as Kubernetes' clients know them: views, never stored."""

from typing import ClassVar

from pydantic import Field

from upwell.api.columns import networking
from upwell.api.meta import Kind, Model, ObjectReference, Resource

_READ = ("get", "list", "watch")


class EndpointPort(Model):
    """A port of every address."""

    name: str | None = None
    port: int
    protocol: str = "TCP"


class EndpointAddress(Model):
    """The address of an instance."""

    ip: str
    target_ref: ObjectReference | None = None


class EndpointSubset(Model):
    """Addresses that have the same ports."""

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Resource):
    """core/v1 Endpoints: all addresses of a Service, under its name."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "Endpoints",
        "endpoints",
        ("ep",),
        has_status=False,
        verbs=_READ,
        columns=networking.ENDPOINTS,
    )

    subsets: tuple[EndpointSubset, ...] = ()


class EndpointConditions(Model):
    """State of an instance that serves."""

    ready: bool = False
    serving: bool = False
    terminating: bool = False


class Endpoint(Model):
    """An instance that serves."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = Field(default_factory=EndpointConditions)
    target_ref: ObjectReference | None = None


class EndpointSlice(Resource):
    """discovery.k8s.io/v1 EndpointSlice: the addresses of a Service that have the same ports."""

    KIND: ClassVar[Kind] = Kind(
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "endpointslices",
        has_status=False,
        verbs=_READ,
        columns=networking.ENDPOINT_SLICE,
    )

    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
