"""A Route as documents of a cluster: an Ingress, or routes of the Gateway API; pure.

What these have no field for is named. Where it decides who gets a request, or how it is protected,
the Route is not served without it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.networking.gateway import HttpRoute, TlsRoute
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route, RouteTls
from upwell.cluster.interface import FIELD_MANAGER
from upwell.policy.cluster_rollouts.field_owners import owners_of
from upwell.policy.cluster_routing.ingress_nginx import (
    ANNOTATIONS,
    annotations_of,
    is_ingress_nginx,
    nginx_bars,
    nginx_left_out,
)
from upwell.policy.cluster_routing.routers import GatewayRouter, IngressRouter
from upwell.policy.routing.hosts import effective_host
from upwell.policy.routing.table import service_port, wanted_targets

REDIRECT_SUFFIX = "-redirect"
_ROUTER_ANNOTATIONS = "haproxy.router.openshift.io/"
_EXTERNAL = "externalCertificate"
_EDGE, _PASSTHROUGH, _REENCRYPT = "edge", "passthrough", "reencrypt"
_REDIRECT, _ALLOW = "Redirect", "Allow"
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
    bars = [*_faults(route, service)]
    if isinstance(router, IngressRouter):
        bars += _ingress_bars(route, router)
    else:
        bars += _gateway_bars(route, router)
    left_out = tuple(_left_out(route, router))
    if bars:
        return Expressed((), tuple(bars), left_out)
    if isinstance(router, IngressRouter):
        return Expressed((_ingress(route, router, service),), (), left_out)
    return Expressed(tuple(_gateway_routes(route, router, service)), (), left_out)


def taken_fields(there: Resource, found: Mapping[str, Any], wanted: Document) -> list[str]:
    """Return which fields somebody else has set otherwise, each with its manager.

    `found` is the spec of the object that is there, `wanted` the document that the Route asks for.
    """
    spec, annotations = wanted["spec"], wanted["metadata"].get("annotations", {})
    specs = (
        (f"spec.{name}", ("f:spec", f"f:{name}"))
        for name, part in spec.items()
        if not (name in found and includes(found[name], part))
    )
    notes = (
        (f"metadata.annotations[{name}]", ("f:metadata", "f:annotations", f"f:{name}"))
        for name, text in annotations.items()
        if there.annotations.get(name) != text
    )
    return [
        f"{field}, which field manager {manager} has set"
        for field, path in (*specs, *notes)
        for manager in sorted({one for one, _ in owners_of(there, path)})
        if manager != FIELD_MANAGER
    ]


def wanted_annotations(there: Resource, wanted: Document) -> dict[str, str]:
    """Return the annotations of an object once it is as wanted: what others have set stays."""
    asked = wanted["metadata"].get("annotations", {})
    kept = {
        name: text
        for name, text in there.annotations.items()
        if name not in ANNOTATIONS or not _is_own(there, name)
    }
    return {**kept, **asked}


def _is_own(there: Resource, annotation: str) -> bool:
    owners = owners_of(there, ("f:metadata", "f:annotations", f"f:{annotation}"))
    return any(manager == FIELD_MANAGER for manager, _ in owners)


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


def _ingress_bars(route: Route, router: IngressRouter) -> Iterator[str]:
    if route.spec.alternate_backends:
        yield "spec.alternateBackends: an Ingress has one Service for a path, and no weights"
    tls = route.spec.tls
    if is_ingress_nginx(router):
        yield from nginx_bars(route)
    elif tls is not None and tls.termination != _EDGE:
        yield (
            f"spec.tls.termination: {tls.termination!r} has no field in an Ingress: {_EDGE} has,"
            " and ingress-nginx knows it by annotations"
        )
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
    termination = tls.termination if tls is not None else ""
    if termination == _REENCRYPT:
        yield (
            f"spec.tls.termination: {_REENCRYPT!r} has no field in an HTTPRoute: give Service"
            f" {route.spec.to.name} a BackendTLSPolicy, and say {_EDGE}"
        )
    elif termination == _PASSTHROUGH and not _passing(router):
        yield f"spec.tls.termination: {name} has no listener for TLS with mode Passthrough"
    elif termination == _EDGE and not _listeners(router, "HTTPS"):
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
    if not isinstance(router, IngressRouter) or tls is None:
        return
    policy = tls.insecure_edge_termination_policy
    if is_ingress_nginx(router):
        yield from nginx_left_out(route)
    if tls.termination == _EDGE or (is_ingress_nginx(router) and policy != _REDIRECT):
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
    if route.spec.tls is not None and route.spec.tls.termination != _PASSTHROUGH:
        secret = _certificate_secret(route.spec.tls)
        spec["tls"] = [{"hosts": [host], **({"secretName": secret} if secret else {})}]
    document = _document(Ingress, route, route.name, spec)
    if is_ingress_nginx(router) and (annotations := annotations_of(route)):
        document["metadata"]["annotations"] = annotations
    return document


def _gateway_routes(
    route: Route, router: GatewayRouter, service: FindService
) -> Iterator[Document]:
    tls = route.spec.tls
    policy = tls.insecure_edge_termination_policy if tls is not None else None
    matches = [{"path": {"type": "PathPrefix", "value": route.spec.path or "/"}}]
    backends = []
    for target in wanted_targets(route):
        found = service(target.name)
        port = service_port(route, found) if found is not None else None
        number = port.port if port is not None else 0
        backends.append({"name": target.name, "port": number, "weight": target.weight})
    if tls is not None and tls.termination == _PASSTHROUGH:
        spec = _attached(route, router, _passing(router), {"backendRefs": backends})
        yield _document(TlsRoute, route, route.name, spec)
    else:
        protocols = ["HTTP"] if tls is None else ["HTTPS", *(["HTTP"] if policy == _ALLOW else [])]
        listeners = [name for one in protocols for name in _listeners(router, one)]
        rule = {"matches": matches, "backendRefs": backends}
        spec = _attached(route, router, listeners, rule)
        yield _document(HttpRoute, route, route.name, spec)
    if policy == _REDIRECT and _listeners(router, "HTTP"):
        redirect = {"scheme": "https", "statusCode": 302}
        filters = [{"type": "RequestRedirect", "requestRedirect": redirect}]
        rule = {"matches": matches, "filters": filters}
        spec = _attached(route, router, _listeners(router, "HTTP"), rule)
        yield _document(HttpRoute, route, redirect_name(route), spec)


def redirect_name(route: Route) -> str:
    """Return the name of the HTTPRoute that redirects plain requests of a Route."""
    return f"{route.name[: _MAX_NAME - len(REDIRECT_SUFFIX)]}{REDIRECT_SUFFIX}"


def _attached(
    route: Route, router: GatewayRouter, listeners: Sequence[str], rule: Document
) -> Document:
    gateway = router.gateway
    parents = [
        {"name": gateway.name, "namespace": gateway.namespace, "sectionName": listener}
        for listener in listeners
    ]
    return {"parentRefs": parents, "hostnames": [effective_host(route)], "rules": [rule]}


def _listeners(router: GatewayRouter, protocol: str) -> list[str]:
    """Return the listeners of a protocol; of HTTPS, those at which TLS ends."""
    return [
        one.name
        for one in router.gateway.spec.listeners
        if one.protocol == protocol and (one.tls or {}).get("mode", "Terminate") == "Terminate"
    ]


def _passing(router: GatewayRouter) -> list[str]:
    """Return the listeners that pass TLS through."""
    return [
        one.name
        for one in router.gateway.spec.listeners
        if one.protocol == "TLS" and (one.tls or {}).get("mode") == "Passthrough"
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
