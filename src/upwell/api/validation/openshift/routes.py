"""Rules of Routes (route/v1)."""

from collections.abc import Iterator
from typing import Any

from upwell.api.route import Route, RouteTarget, RouteTls
from upwell.api.validation.formats import label_problem, subdomain_problem
from upwell.api.validation.openshift.headers import header_faults
from upwell.api.values.faults import Fault

NON_DNS_HOST = "route.openshift.io/allow-non-dns-compliant-host"
"""Annotation, `true` on a Route whose host has labels longer than DNS allows."""
_TERMINATIONS = ("edge", "passthrough", "reencrypt")
_WILDCARDS = ("None", "Subdomain")
_SERVICE = "Service"
_MAX_BACKENDS = 3
_MAX_WEIGHT = 256
_CERTIFICATES = ("certificate", "key", "ca_certificate", "destination_ca_certificate")
_WRITTEN = {
    "ca_certificate": "caCertificate",
    "destination_ca_certificate": "destinationCACertificate",
}
_SPELLED = {"Edge": "edge", "Passthrough": "passthrough", "Reencrypt": "reencrypt"}
"""Spellings that are stored in lower case."""


def route_faults(route: Route) -> Iterator[Fault]:
    """Yield every fault of a defaulted Route."""
    yield from _host(route)
    yield from _path(route)
    yield from _target(route.spec.to, "spec.to")
    backends = route.spec.alternate_backends
    if len(backends) > _MAX_BACKENDS:
        yield Fault.too_many("spec.alternateBackends", len(backends), _MAX_BACKENDS)
    for at, backend in enumerate(backends):
        yield from _target(backend, f"spec.alternateBackends[{at}]")
    port = route.spec.port
    if port is not None and port.target_port in {0, ""}:
        yield Fault.required("spec.port.targetPort")
    if route.spec.tls is not None:
        yield from _tls(route.spec.tls, "spec.tls")
    policy = route.spec.wildcard_policy
    if policy and policy not in _WILDCARDS:
        yield Fault.not_supported("spec.wildcardPolicy", policy, _WILDCARDS)
    elif policy == "Subdomain" and not route.spec.host:
        why = "host name not specified for wildcard policy"
        yield Fault.invalid("spec.wildcardPolicy", policy, why)
    headers: Any = (route.spec.model_extra or {}).get("httpHeaders")
    if headers is not None:
        yield from header_faults(headers, "spec.httpHeaders")


def _host(route: Route) -> Iterator[Fault]:
    host = route.spec.host
    # The host of a wildcard Route may be written with its star here.
    bare = host.removeprefix("*.")
    if bare and (why := subdomain_problem(bare)):
        yield Fault.invalid("spec.host", host, f"host must conform to DNS conventions: {why}")
    elif bare and route.annotations.get(NON_DNS_HOST) != "true":
        for label in bare.split("."):
            if why := label_problem(label):
                yield Fault.invalid("spec.host", host, why)
    subdomain: Any = (route.spec.model_extra or {}).get("subdomain")
    if isinstance(subdomain, str) and subdomain and (why := subdomain_problem(subdomain)):
        yield Fault.invalid("spec.subdomain", subdomain, why)


def _path(route: Route) -> Iterator[Fault]:
    path = route.spec.path
    if not path:
        return
    if not path.startswith("/"):
        yield Fault.invalid("spec.path", path, "path must begin with /")
    if "#" in path or " " in path:
        yield Fault.invalid("spec.path", path, "cannot contain # or spaces")
    if _termination(route.spec.tls) == "passthrough":
        yield Fault.invalid("spec.path", path, "passthrough termination does not support paths")


def _target(target: RouteTarget, path: str) -> Iterator[Fault]:
    if not target.name:
        yield Fault.required(f"{path}.name")
    if target.kind not in {"", _SERVICE}:
        yield Fault.invalid(f"{path}.kind", target.kind, "must reference a Service")
    if not 0 <= target.weight <= _MAX_WEIGHT:
        why = f"weight must be an integer between 0 and {_MAX_WEIGHT}"
        yield Fault.invalid(f"{path}.weight", target.weight, why)


def _termination(tls: RouteTls | None) -> str:
    """Return the termination as it is meant; empty without TLS."""
    if tls is None:
        return ""
    if not tls.termination and not tls.destination_ca_certificate:
        return "edge"
    return _SPELLED.get(tls.termination, tls.termination)


def _tls(tls: RouteTls, path: str) -> Iterator[Fault]:
    termination = _termination(tls)
    if termination not in _TERMINATIONS:
        yield Fault.not_supported(f"{path}.termination", termination, _TERMINATIONS)
    forbidden = {"passthrough": _CERTIFICATES, "edge": _CERTIFICATES[-1:]}.get(termination, ())
    for name in forbidden:
        if getattr(tls, name):
            # Its content is never shown.
            why = f"{termination} termination does not support it"
            yield Fault(f"{path}.{_WRITTEN.get(name, name)}", f"Invalid value: {why}")
    policy = tls.insecure_edge_termination_policy
    allowed = (
        ("None", "Redirect") if tls.termination == "passthrough" else ("Allow", "None", "Redirect")
    )
    if policy and policy not in allowed:
        why = f"acceptable values are {', '.join(allowed)}, or empty"
        yield Fault.invalid(f"{path}.insecureEdgeTerminationPolicy", policy, why)
