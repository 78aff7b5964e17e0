"""route.openshift.io/v1: hosts and paths of Services."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Condition, Kind, Model, Resource
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

    termination: str = ""
    """edge, passthrough or reencrypt."""
    certificate: str = Field(default="", repr=False)
    key: Annotated[str, WriteOnly()] = Field(default="", repr=False)
    ca_certificate: str = Field(default="", alias="caCertificate")
    destination_ca_certificate: str = Field(default="", alias="destinationCACertificate")
    insecure_edge_termination_policy: str | None = None


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


class RouteStatus(Model):
    """Status that routers report."""

    ingress: tuple[RouteIngress, ...] = ()


def _backends_of(route: Mapping[str, Any]) -> str:
    """Return the Services of a Route, each with its part of the requests unless it has all."""
    spec = route["spec"]
    backends = [spec["to"], *(spec.get("alternateBackends") or ())]
    if len(backends) == 1 and backends[0]["weight"]:
        return str(backends[0]["name"])
    total = sum(one["weight"] for one in backends) or 1
    return ",".join(f"{one['name']}({one['weight'] * 100 // total}%)" for one in backends)


class Route(Resource):
    """A host name for a Service."""

    KIND: ClassVar[Kind] = Kind(
        "route.openshift.io",
        "v1",
        "Route",
        "routes",
        legacy=True,
        columns=(
            Column("HOST", "spec.host"),
            Column("PATH", "spec.path"),
            Column("SERVICE", "spec.to.name", text=_backends_of),
            Column("ADMITTED", "status.ingress[*].conditions[*].status"),
            Column("TERMINATION", "spec.tls.termination", wide=True),
        ),
    )

    spec: RouteSpec = Field(default_factory=RouteSpec)
    status: RouteStatus = Field(default_factory=RouteStatus)
