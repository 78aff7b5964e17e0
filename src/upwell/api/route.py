"""route.openshift.io/v1: hosts and paths of Services."""

from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, Condition, Kind, Model, Resource


class RouteTarget(Model):
    """A Service and its share of the requests."""

    kind: str = "Service"
    name: str = ""
    weight: int | None = Field(default=None, ge=0, le=256)


class RoutePort(Model):
    """A port of the Service, by name or number."""

    target_port: int | str


class RouteSpec(Model):
    """Which requests go where."""

    host: str = ""
    path: str = ""
    to: RouteTarget = Field(default_factory=RouteTarget)
    alternate_backends: tuple[RouteTarget, ...] = ()
    port: RoutePort | None = None
    tls: dict[str, Any] | None = None
    wildcard_policy: str | None = None


class RouteIngress(Model):
    """How a router serves the Route."""

    host: str = ""
    router_name: str = ""
    conditions: tuple[Condition, ...] = ()


class RouteStatus(Model):
    """What routers report."""

    ingress: tuple[RouteIngress, ...] = ()


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
            Column("SERVICE", "spec.to.name"),
        ),
    )

    spec: RouteSpec = Field(default_factory=RouteSpec)
    status: RouteStatus = Field(default_factory=RouteStatus)
