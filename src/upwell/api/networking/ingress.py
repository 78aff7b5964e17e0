"""networking.k8s.io/v1 Ingress: hosts and paths of Services, which Routes serve."""

from typing import Any, ClassVar

from pydantic import Field

from upwell.api.columns import networking
from upwell.api.meta import Condition, Kind, Model, Resource


class ServiceBackendPort(Model):
    """A port of a Service, by name or number."""

    name: str = ""
    number: int | None = Field(default=None, ge=1, le=65535)


class IngressServiceBackend(Model):
    """A Service that answers."""

    name: str
    port: ServiceBackendPort = Field(default_factory=ServiceBackendPort)


class IngressBackend(Model):
    """Target of requests."""

    service: IngressServiceBackend | None = None
    resource: dict[str, Any] | None = None


class HTTPIngressPath(Model):
    """A path, and the target of the requests below it."""

    path: str = ""
    path_type: str | None = None
    backend: IngressBackend = Field(default_factory=IngressBackend)


class HTTPIngressRuleValue(Model):
    """Paths of a host."""

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Model):
    """A host."""

    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Model):
    """Certificate of some hosts, in a Secret of type kubernetes.io/tls; no hosts: of all."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Model):
    """Hosts and paths, and who answers. There is one router: a class selects nothing."""

    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class LoadBalancerIngress(Model):
    """Name under which requests are answered."""

    hostname: str = ""


class IngressLoadBalancerStatus(Model):
    """Names under which requests are answered."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class IngressStatus(Model):
    """Routes that serve it, as far as they are admitted."""

    load_balancer: IngressLoadBalancerStatus = Field(default_factory=IngressLoadBalancerStatus)
    conditions: tuple[Condition, ...] = ()
    """Addition of ours: `Served`, with what keeps a rule from being served."""


class Ingress(Resource):
    """Hosts and paths of Services."""

    KIND: ClassVar[Kind] = Kind(
        "networking.k8s.io",
        "v1",
        "Ingress",
        "ingresses",
        ("ing",),
        columns=networking.INGRESS,
    )

    spec: IngressSpec = Field(default_factory=IngressSpec)
    status: IngressStatus = Field(default_factory=IngressStatus)
