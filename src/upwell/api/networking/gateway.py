"""Kinds by which a cluster routes: IngressClass, and those of the Gateway API.

Upwell reads them in a cluster, and has none of its own: they are in no list of kinds.
"""

from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Condition, Kind, Model, Resource, Scope

GATEWAY_GROUP = "gateway.networking.k8s.io"


class IngressClassSpec(Model):
    """Controller of an IngressClass."""

    controller: str = ""
    """Its name, a domain and a path, such as `k8s.io/ingress-nginx`."""


class IngressClass(Resource):
    """A controller that serves Ingresses (networking.k8s.io/v1)."""

    KIND: ClassVar[Kind] = Kind(
        "networking.k8s.io",
        "v1",
        "IngressClass",
        "ingressclasses",
        scope=Scope.CLUSTER,
        has_status=False,
    )

    spec: IngressClassSpec = Field(default_factory=IngressClassSpec)


class GatewayListener(Model):
    """A place at which a Gateway takes requests."""

    name: str = ""
    protocol: str = ""
    """HTTP, HTTPS, TLS, TCP or UDP."""
    tls: dict[str, Any] | None = None


class GatewaySpec(Model):
    """Listeners of a Gateway."""

    listeners: tuple[GatewayListener, ...] = ()


class GatewayAddress(Model):
    """An address at which a Gateway is reached."""

    value: str = ""


class GatewayStatus(Model):
    """Addresses of a Gateway."""

    addresses: tuple[GatewayAddress, ...] = ()


class Gateway(Resource):
    """A router that HTTPRoutes attach to (gateway.networking.k8s.io/v1)."""

    KIND: ClassVar[Kind] = Kind(GATEWAY_GROUP, "v1", "Gateway", "gateways")

    spec: GatewaySpec = Field(default_factory=GatewaySpec)
    status: GatewayStatus = Field(default_factory=GatewayStatus)


class RouteParentStatus(Model):
    """Answer of a Gateway to an HTTPRoute or TLSRoute."""

    conditions: tuple[Condition, ...] = ()


class HttpRouteStatus(Model):
    """Answers of the Gateways that an HTTPRoute or TLSRoute attaches to."""

    parents: tuple[RouteParentStatus, ...] = ()


class HttpRoute(Resource):
    """Hosts and paths of Services, served by Gateways (gateway.networking.k8s.io/v1, HTTPRoute)."""

    KIND: ClassVar[Kind] = Kind(GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes")

    spec: dict[str, Any] = Field(default_factory=dict)
    status: HttpRouteStatus = Field(default_factory=HttpRouteStatus)


class TlsRoute(Resource):
    """Hosts of Services that end TLS themselves (gateway.networking.k8s.io/v1, TLSRoute).

    Source: Gateway API 1.5, which has it in its standard channel.
    """

    KIND: ClassVar[Kind] = Kind(GATEWAY_GROUP, "v1", "TLSRoute", "tlsroutes")

    spec: dict[str, Any] = Field(default_factory=dict)
    status: HttpRouteStatus = Field(default_factory=HttpRouteStatus)
