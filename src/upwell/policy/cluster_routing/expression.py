"""A Route as documents of a cluster: an Ingress, or HTTPRoutes of the Gateway API; pure.

What these have no field for is named. Where it decides who gets a request, or how it is protected,
the Route is not served without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.networking.gateway import HttpRoute
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route, RouteTls
from upwell.cluster.interface import FIELD_MANAGER
from upwell.policy.cluster_rollouts.field_owners import owners_of
from upwell.policy.cluster_routing.routers import GatewayRouter, IngressRouter
from upwell.policy.routing.hosts import effective_host
from upwell.policy.routing.table import service_port, wanted_targets

REDIRECT_SUFFIX = "-redirect"
_ROUTER_ANNOTATIONS = "haproxy.router.openshift.io/"
_EXTERNAL = "externalCertificate"
_EDGE, _REDIRECT, _ALLOW = "edge", "Redirect", "Allow"
_MAX_NAME = 253

type Document = dict[str, Any]
type FindService = Callable[[str], Service | None]
"""Returns a Service of the Route's namespace by its name."""


@dataclass(frozen=True, slots=True)
class Expressed:
    """Documents that serve a Route, and the fields of it that they do not have."""

    documents: tuple[Document, ...] = ()
    bars: tuple[str, ...] = ()
    """Fields for whose sake the Route is not served, each with the reason."""
    left_out: tuple[str, ...] = ()
    """Fields without which it is served."""


def express(route: Route, router: IngressRouter | GatewayRouter, service: FindService) -> Expressed:
    """Return how a cluster serves a Route; no documents where it cannot."""
    bars = [*_faults(route, service), *_tls_bars(route)]
    if isinstance(router, IngressRouter):
        bars += _ingress_bars(route)
    else:
        bars += _gateway_bars(route, router)
    left_out = tuple(_left_out(route, router))
    if bars:
        return Expressed((), tuple(bars), left_out)
    if isinstance(router, IngressRouter):
        return Expressed((_ingress(route, router, service),), (), left_out)
    return Expressed(tuple(_http_routes(route, router, service)), (), left_out)


def taken_fields(there: Resource, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return which fields of a spec somebody else has set otherwise, each with its manager.

    `found` is the spec of the object that is there, `wanted` what the Route asks for.
    """
    return [
        f"spec.{name}, which field manager {manager} has set"
        for name, part in wanted.items()
        if not (name in found and includes(found[name], part))
        for manager in sorted({one for one, _ in owners_of(there, ("f:spec", f"f:{name}"))})
        if manager != FIELD_MANAGER
    ]


def includes(found: object, wanted: object) -> bool:
    """Return True if a document has all that another has; lists are compared one by one."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and includes(found[name], part) for name, part in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return (
            isinstance(found, Sequence)
            and len(found) == len(wanted)
            and all(map(includes, found, wanted))
        )
    return found == wanted


def _faults(route: Route, service: FindService) -> Iterator[str]:
    """Yield what keeps a Route from being served anywhere."""
    if not effective_host(route):
        yield "spec.host: a cluster gives none out: name the host"
    for target in wanted_targets(route):
        if target.kind != "Service":
            yield f"spec.to.kind: {target.kind!r} is not served, a Service is"
            continue
        found = service(target.name)
        if found is None:
            yield f"spec.to: Service {route.namespace}/{target.name} does not exist: create it"
        elif service_port(route, found) is None:
            wanted = f" {route.spec.port.target_port!r}" if route.spec.port else ""
            yield f"spec.port: Service {target.name} has no TCP port{wanted}"


def _tls_bars(route: Route) -> Iterator[str]:
    tls = route.spec.tls
    if tls is None:
        return
    if tls.termination != _EDGE:
        yield (
            f"spec.tls.termination: {tls.termination!r} has no field in an Ingress or HTTPRoute:"
            f" {_EDGE} has"
        )


def _own_certificate(tls: RouteTls | None) -> str:
    """Return the field by which a Route has a certificate; empty: it has none."""
    if tls is not None and (tls.certificate or tls.key):
        return "spec.tls.certificate"
    if tls is not None and _EXTERNAL in (tls.model_extra or {}):
        return f"spec.tls.{_EXTERNAL}"
    return ""


def _certificate_secret(tls: RouteTls | None) -> str:
    """Return the Secret (kubernetes.io/tls) that a Route names; empty: none."""
    named = (tls.model_extra or {}).get(_EXTERNAL) if tls is not None else None
    return str(named.get("name") or "") if isinstance(named, Mapping) else ""


def _ingress_bars(route: Route) -> Iterator[str]:
    if route.spec.alternate_backends:
        yield "spec.alternateBackends: an Ingress has one Service for a path, and no weights"
    tls = route.spec.tls
    if tls is not None and (tls.certificate or tls.key):
        yield (
            "spec.tls.certificate: an Ingress takes it from a Secret, which Upwell may not write:"
            f" make one of type kubernetes.io/tls, and name it in spec.tls.{_EXTERNAL}"
        )
    elif _own_certificate(tls) and not _certificate_secret(tls):
        yield f"spec.tls.{_EXTERNAL}.name: required, the name of a Secret of type kubernetes.io/tls"


def _gateway_bars(route: Route, router: GatewayRouter) -> Iterator[str]:
    gateway, tls = router.gateway, route.spec.tls
    name = f"Gateway {gateway.namespace}/{gateway.name}"
    if field := _own_certificate(tls):
        yield f"{field}: the certificate is that of the listener of {name}: remove it"
    if tls is not None and not _listeners(router, "HTTPS"):
        yield f"spec.tls: {name} has no listener for HTTPS"
    if tls is None and not _listeners(router, "HTTP"):
        yield f"spec.tls: {name} has no listener for plain HTTP, and the Route has no TLS"
    if not any(one.weight for one in wanted_targets(route)):
        yield "spec.to.weight: all weights are 0, so that nobody gets a request"


def _left_out(route: Route, router: IngressRouter | GatewayRouter) -> Iterator[str]:
    for name in sorted(route.annotations):
        if name.startswith(_ROUTER_ANNOTATIONS):
            yield f"metadata.annotations[{name}]"
    tls = route.spec.tls
    if isinstance(router, IngressRouter) and tls is not None and tls.termination == _EDGE:
        policy = tls.insecure_edge_termination_policy
        yield (
            f"spec.tls.insecureEdgeTerminationPolicy: {policy or 'None'}: what plain HTTP gets is"
            " for the ingress controller to say"
        )


def _ingress(route: Route, router: IngressRouter, service: FindService) -> Document:
    host = effective_host(route)
    found = service(route.spec.to.name)
    port = service_port(route, found) if found is not None else None
    number = port.port if port is not None else 0
    backend = {"service": {"name": route.spec.to.name, "port": {"number": number}}}
    path = {"path": route.spec.path or "/", "pathType": "Prefix", "backend": backend}
    spec: Document = {
        "ingressClassName": router.class_name,
        "rules": [{"host": host, "http": {"paths": [path]}}],
    }
    if route.spec.tls is not None:
        secret = _certificate_secret(route.spec.tls)
        spec["tls"] = [{"hosts": [host], **({"secretName": secret} if secret else {})}]
    return _document(Ingress, route, route.name, spec)


def _http_routes(route: Route, router: GatewayRouter, service: FindService) -> Iterator[Document]:
    tls = route.spec.tls
    policy = tls.insecure_edge_termination_policy if tls is not None else None
    protocols = ["HTTP"] if tls is None else ["HTTPS", *(["HTTP"] if policy == _ALLOW else [])]
    matches = [{"path": {"type": "PathPrefix", "value": route.spec.path or "/"}}]
    backends = []
    for target in wanted_targets(route):
        found = service(target.name)
        port = service_port(route, found) if found is not None else None
        number = port.port if port is not None else 0
        backends.append({"name": target.name, "port": number, "weight": target.weight})
    rule = {"matches": matches, "backendRefs": backends}
    yield _document(HttpRoute, route, route.name, _attached(route, router, protocols, rule))
    if policy == _REDIRECT and _listeners(router, "HTTP"):
        redirect = {"scheme": "https", "statusCode": 302}
        filters = [{"type": "RequestRedirect", "requestRedirect": redirect}]
        rule = {"matches": matches, "filters": filters}
        spec = _attached(route, router, ["HTTP"], rule)
        yield _document(HttpRoute, route, redirect_name(route), spec)


def redirect_name(route: Route) -> str:
    """Return the name of the HTTPRoute that redirects plain requests of a Route."""
    return f"{route.name[: _MAX_NAME - len(REDIRECT_SUFFIX)]}{REDIRECT_SUFFIX}"


def _attached(
    route: Route, router: GatewayRouter, protocols: Sequence[str], rule: Document
) -> Document:
    gateway = router.gateway
    parents = [
        {"name": gateway.name, "namespace": gateway.namespace, "sectionName": listener}
        for protocol in protocols
        for listener in _listeners(router, protocol)
    ]
    return {"parentRefs": parents, "hostnames": [effective_host(route)], "rules": [rule]}


def _listeners(router: GatewayRouter, protocol: str) -> list[str]:
    """Return the listeners of a protocol; of HTTPS, those at which TLS ends."""
    return [
        one.name
        for one in router.gateway.spec.listeners
        if one.protocol == protocol and (one.tls or {}).get("mode", "Terminate") == "Terminate"
    ]


def _document(kind: type[Resource], route: Route, name: str, spec: Document) -> Document:
    owner = {
        "apiVersion": Route.KIND.api_version,
        "kind": Route.KIND.kind,
        "name": route.name,
        "uid": route.uid,
        "controller": True,
    }
    return {
        "apiVersion": kind.KIND.api_version,
        "kind": kind.KIND.kind,
        "metadata": {
            "name": name,
            "namespace": route.namespace,
            "labels": dict(route.labels),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }
