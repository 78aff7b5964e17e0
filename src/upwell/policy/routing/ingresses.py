"""Routes that an Ingress asks for, as OpenShift's ingress-to-route controller makes them; pure.

Source: openshift/route-controller-manager `pkg/route/ingress`. Each host and path is a Route that
belongs to the Ingress; TLS ends at the router, with the certificate of the Secret, and plain
requests are redirected.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from upwell.api.core import Secret, Service
from upwell.api.meta import ObjectMeta
from upwell.api.networking.ingress import HTTPIngressPath, Ingress, IngressServiceBackend
from upwell.api.route import Route, RoutePort, RouteSpec, RouteTarget, RouteTls
from upwell.api.values.author import made_of

TERMINATION_ANNOTATION = "route.openshift.io/termination"
MAX_ROUTES = 200
"""Of one Ingress."""
_ROUTER_ANNOTATIONS = "haproxy.router.openshift.io/"
_TLS_TYPE = "kubernetes.io/tls"
_DIGITS = 8
_MAX_NAME = 253

type Found[R] = Callable[[str], R | None]
"""Returns an object of the namespace by its name."""


@dataclass(frozen=True, slots=True)
class WantedRoutes:
    """Routes of an Ingress, and why other rules of it have none."""

    routes: tuple[Route, ...] = ()
    problems: tuple[str, ...] = ()


def routes_of(ingress: Ingress, service: Found[Service], secret: Found[Secret]) -> WantedRoutes:
    """Return the Routes that an Ingress asks for; `secret` is asked for certificates alone."""
    routes: dict[str, Route] = {}
    problems: list[str] = []
    if ingress.spec.default_backend is not None:
        problems.append("spec.defaultBackend is not served: name hosts in spec.rules")
    for at, rule in enumerate(ingress.spec.rules):
        path = f"spec.rules[{at}]"
        if not rule.host:
            problems.append(f"{path} has no host: name one, each is a Route's")
            continue
        tls = _tls(ingress, rule.host.lower(), secret)
        if isinstance(tls, str):
            problems.append(tls)
            continue
        for number, target in enumerate(rule.http.paths if rule.http is not None else ()):
            backend = target.backend.service
            if backend is None:
                problems.append(f"{path}.http.paths[{number}].backend names no service")
                continue
            route = _route(ingress, rule.host.lower(), target, service(backend.name), tls)
            if route.name not in routes and len(routes) == MAX_ROUTES:
                problems.append(f"more than {MAX_ROUTES} hosts and paths: part the Ingress")
                return WantedRoutes(tuple(routes.values()), tuple(problems))
            routes.setdefault(route.name, route)
    return WantedRoutes(tuple(routes.values()), tuple(dict.fromkeys(problems)))


def backend_services(ingress: Ingress) -> Iterator[str]:
    """Yield the Services that the Routes of an Ingress lead to."""
    for rule in ingress.spec.rules:
        for target in rule.http.paths if rule.http is not None else ():
            if target.backend.service is not None:
                yield target.backend.service.name


def certificate_secrets(ingress: Ingress) -> Iterator[str]:
    """Yield the Secrets that the router takes certificates from."""
    if _termination(ingress) != "passthrough":
        yield from (entry.secret_name for entry in ingress.spec.tls if entry.secret_name)


def _route(
    ingress: Ingress,
    host: str,
    target: HTTPIngressPath,
    service: Service | None,
    tls: RouteTls | None,
) -> Route:
    path = target.path if target.path.strip("/") else ""
    backend = target.backend.service or IngressServiceBackend(name="")
    stem = ingress.name[: _MAX_NAME - _DIGITS - 1].rstrip(".-")
    digest = hashlib.sha256(f"{host} {path}".encode()).hexdigest()[:_DIGITS]
    annotations = {
        name: text
        for name, text in ingress.annotations.items()
        if name.startswith(_ROUTER_ANNOTATIONS)
    }
    metadata = ObjectMeta(
        name=f"{stem}-{digest}",
        namespace=ingress.namespace,
        labels=dict(ingress.labels),
        annotations=annotations,
        owner_references=(ingress.owner_reference(),),
    )
    spec = RouteSpec(
        host=host,
        path=path,
        to=RouteTarget(name=backend.name),
        port=_port(backend, service),
        tls=tls,
    )
    return made_of(Route(metadata=metadata, spec=spec), ingress)


def _port(backend: IngressServiceBackend, service: Service | None) -> RoutePort | None:
    """Return the port as a Route names it: by its name, or by that of the instances."""
    wanted = backend.port
    if wanted.name:
        return RoutePort(target_port=wanted.name)
    for port in service.spec.ports if service is not None else ():
        if port.port == wanted.number:
            return RoutePort(target_port=port.name or port.target_port or port.port)
    return None


def _tls(ingress: Ingress, host: str, secret: Found[Secret]) -> RouteTls | str | None:
    """Return the TLS of a host, None for one without, or what keeps it from being served."""
    termination = _termination(ingress)
    entry = next(
        (one for one in ingress.spec.tls if not one.hosts or host in map(str.lower, one.hosts)),
        None,
    )
    if termination == "passthrough":
        return RouteTls(termination=termination, insecure_edge_termination_policy="Redirect")
    if entry is None:
        return None
    if not entry.secret_name:
        return RouteTls(termination=termination, insecure_edge_termination_policy="Redirect")
    found = secret(entry.secret_name)
    if found is None or found.type != _TLS_TYPE:
        return (
            f"host {host} waits for its certificate: Secret {ingress.namespace}/{entry.secret_name}"
            f" of type {_TLS_TYPE}"
        )
    values = found.decoded()
    return RouteTls(
        termination=termination,
        certificate=values.get("tls.crt", b"").decode(errors="replace"),
        key=values.get("tls.key", b"").decode(errors="replace"),
        insecure_edge_termination_policy="Redirect",
    )


def _termination(ingress: Ingress) -> str:
    return ingress.annotations.get(TERMINATION_ANNOTATION, "").lower() or "edge"
