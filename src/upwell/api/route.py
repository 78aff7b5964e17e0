"""route.openshift.io/v1: hosts and paths of Services."""

from typing import Annotated, ClassVar

from pydantic import Field

from upwell.api.columns import networking
from upwell.api.meta import Condition, Kind, Model, Resource
from upwell.api.write_only.fields import WriteOnly


class RouteTarget(Model):
    """A Service and its share of the requests."""

    kind: str = "Service"
    name: str = ""
    weight: int = Field(default=100, ge=0, le=256)


class RoutePort(Model):
    """A port of the Service, by name or number."""

    target_port: int | str


class RouteTls(Model):
    """TLS of a Route; certificates and keys in PEM."""

    termination: str = Field(default="", description="edge, passthrough or reencrypt.")
    certificate: str = Field(
        default="", repr=False, description="Certificate that clients are shown, in PEM."
    )
    key: Annotated[str, WriteOnly()] = Field(
        default="", repr=False, description="Private key of the certificate, in PEM."
    )
    ca_certificate: str = Field(
        default="", alias="caCertificate", description="Chain of the certificate, in PEM."
    )
    destination_ca_certificate: str = Field(
        default="",
        alias="destinationCACertificate",
        description="With reencrypt: authority that the workload's certificate is checked by.",
    )
    insecure_edge_termination_policy: str | None = Field(
        default=None, description="What plain HTTP gets: None, Allow or Redirect."
    )


class RouteSpec(Model):
    """Requests of a Route, and their target."""

    host: str = ""
    path: str = ""
    to: RouteTarget = Field(default_factory=RouteTarget)
    alternate_backends: tuple[RouteTarget, ...] = ()
    port: RoutePort | None = None
    tls: RouteTls | None = None
    wildcard_policy: str = "None"


class RouteIngress(Model):
    """Admission of the Route by a router."""

    host: str = ""
    router_name: str = ""
    conditions: tuple[Condition, ...] = ()
    wildcard_policy: str | None = None
    router_canonical_hostname: str | None = None
    """Name or address at which the router is reached."""


class RouteStatus(Model):
    """Status that routers report."""

    ingress: tuple[RouteIngress, ...] = ()


class Route(Resource):
    """A host name for a Service."""

    KIND: ClassVar[Kind] = Kind(
        "route.openshift.io",
        "v1",
        "Route",
        "routes",
        legacy=True,
        has_age=False,
        columns=networking.ROUTE,
    )

    spec: RouteSpec = Field(default_factory=RouteSpec)
    status: RouteStatus = Field(default_factory=RouteStatus)
