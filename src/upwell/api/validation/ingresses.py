"""Rules of an Ingress, as Kubernetes has them (networking/v1 ValidateIngress)."""

import re
from collections.abc import Iterator

from upwell.api.networking.ingress import HTTPIngressPath, Ingress, IngressBackend
from upwell.api.validation.formats import (
    path_segment_problem,
    port_name_problem,
    service_name_problem,
    subdomain_problem,
)
from upwell.api.validation.shapes import record, text
from upwell.api.values.faults import Fault

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_PATH = re.compile(r"/[!-~]*")
_MAX_HOST = 253
_resource = record(
    {
        "apiGroup": text(subdomain_problem, empty=False),
        "kind": text(path_segment_problem),
        "name": text(path_segment_problem),
    },
    required=("kind", "name"),
)
_EXACT, _PREFIX = "Exact", "Prefix"
_PATH_TYPES = (_EXACT, "ImplementationSpecific", _PREFIX)


def ingress_faults(ingress: Ingress) -> Iterator[Fault]:
    """Yield every fault of an Ingress."""
    spec = ingress.spec
    name = spec.ingress_class_name
    if name is not None and (why := subdomain_problem(name)):
        yield Fault.invalid("spec.ingressClassName", name, why)
    if not spec.rules and spec.default_backend is None:
        yield Fault.invalid("spec", "", "either `defaultBackend` or `rules` must be specified")
    if spec.default_backend is not None:
        yield from _backend(spec.default_backend, "spec.defaultBackend")
    for at, rule in enumerate(spec.rules):
        path = f"spec.rules[{at}]"
        if rule.host:
            yield from _host(rule.host, f"{path}.host")
        if rule.http is None:
            continue
        if not rule.http.paths:
            yield Fault.required(f"{path}.http.paths")
        for number, one in enumerate(rule.http.paths):
            yield from _path(one, f"{path}.http.paths[{number}]")
    for at, tls in enumerate(spec.tls):
        if tls.secret_name and (why := subdomain_problem(tls.secret_name)):
            yield Fault.invalid(f"spec.tls[{at}].secretName", tls.secret_name, why)
        for number, host in enumerate(tls.hosts):
            yield from _host(host, f"spec.tls[{at}].hosts[{number}]")


def _host(host: str, path: str) -> Iterator[Fault]:
    if len(host) > _MAX_HOST or _HOST.fullmatch(host) is None:
        yield Fault.invalid(path, host, "must be a lower-case DNS name, or *. before one")


def _path(one: HTTPIngressPath, path: str) -> Iterator[Fault]:
    if one.path_type is None:
        yield Fault.required(f"{path}.pathType", "pathType must be specified")
    elif one.path_type not in _PATH_TYPES:
        yield Fault.not_supported(f"{path}.pathType", one.path_type, _PATH_TYPES)
    if (one.path or one.path_type in {_EXACT, _PREFIX}) and _PATH.fullmatch(one.path) is None:
        yield Fault.invalid(f"{path}.path", one.path, "must be an absolute path")
    yield from _backend(one.backend, f"{path}.backend")


def _backend(backend: IngressBackend, path: str) -> Iterator[Fault]:
    service = backend.service
    if service is None:
        if backend.resource is None:
            yield Fault.required(path, "either service or resource must be specified")
        else:
            yield from _resource(backend.resource, f"{path}.resource")
        return
    if backend.resource is not None:
        yield Fault.invalid(path, "", "cannot set both resource and service backends")
    if not service.name:
        yield Fault.required(f"{path}.service.name")
    elif why := service_name_problem(service.name):
        yield Fault.invalid(f"{path}.service.name", service.name, why)
    if service.port.name and (why := port_name_problem(service.port.name)):
        yield Fault.invalid(f"{path}.service.port.name", service.port.name, why)
    if not service.port.name and service.port.number is None:
        yield Fault.required(path, "port name or number is required")
    elif service.port.name and service.port.number is not None:
        yield Fault.invalid(path, "", "cannot set both port name & port number")
