"""Routes of a cluster, their Services, and the routers that a cluster may have."""

from typing import Any

from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.networking.gateway import Gateway, IngressClass
from upwell.api.route import Route

NAMESPACE = "shop"
HTTP = {"name": "web", "protocol": "HTTP", "port": 80}
HTTPS = {"name": "secure", "protocol": "HTTPS", "port": 443}
TLS = {"name": "through", "protocol": "TLS", "port": 8443, "tls": {"mode": "Passthrough"}}
INGRESS_NGINX = "k8s.io/ingress-nginx"


def route(name: str = "web", **spec: Any) -> Route:
    """Return a Route to Service `web`; `metadata` is added to its own."""
    metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}"}
    metadata |= spec.pop("metadata", {})
    declared = {"host": "web.shop.example", "to": {"kind": "Service", "name": "web"}, **spec}
    return decode_as(Route, {"metadata": metadata, "spec": declared})


def service(name: str = "web", namespace: str = NAMESPACE) -> Service:
    """Return a Service with a named port for web requests, after one for metrics."""
    ports = [
        {"name": "metrics", "port": 9090},
        {"name": "http", "port": 80, "targetPort": 8080},
    ]
    metadata = {"name": name, "namespace": namespace}
    return decode_as(Service, {"metadata": metadata, "spec": {"ports": ports}})


def ingress_class(
    name: str = "nginx", *, default: bool = False, controller: str = ""
) -> IngressClass:
    """Return an IngressClass."""
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    metadata = {"name": name, "annotations": annotations}
    return decode_as(IngressClass, {"metadata": metadata, "spec": {"controller": controller}})


def gateway(name: str = "public", *listeners: dict[str, Any]) -> Gateway:
    """Return a Gateway, by default with listeners for HTTP and HTTPS."""
    return decode_as(
        Gateway,
        {
            "metadata": {"name": name, "namespace": "infra"},
            "spec": {"gatewayClassName": "any", "listeners": list(listeners) or [HTTP, HTTPS]},
        },
    )
