"""Rules of Services; source: core/v1 Service and its validation."""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.codec import encode
from upwell.api.core import Service
from upwell.api.validation.formats import (
    address_problem,
    label_problem,
    qualified_name_problem,
    subdomain_problem,
)
from upwell.api.validation.shapes import (
    Check,
    flag,
    integer,
    labels,
    listed,
    one_of,
    port,
    port_or_name,
    record,
    text,
)
from upwell.api.values.faults import Fault

_EXTERNAL_NAME = "ExternalName"
_OUTSIDE = ("NodePort", "LoadBalancer")
_NONE = "None"
_MAX_AFFINITY = 86400
"""Seconds for which a client may stay with one instance."""


def _cluster_ip_problem(address: str) -> str:
    return "" if address == _NONE else address_problem(address)


def _ports(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    found = spec.get("ports") or ()
    kind = spec.get("type") or "ClusterIP"
    if not found and spec.get("clusterIP") != _NONE and kind != _EXTERNAL_NAME:
        yield Fault.required(f"{path}.ports").following(f"{path}.type", f"{path}.clusterIP")
    seen, node_ports = set(), set()
    for at, one in enumerate(found):
        where = f"{path}.ports[{at}]"
        if len(found) > 1 and not one.get("name"):
            yield Fault.required(f"{where}.name", "several ports need names")
        protocol = one.get("protocol") or "TCP"
        if (key := (protocol, one.get("port"))) in seen:
            yield Fault.duplicate(where, {"protocol": protocol, "port": one.get("port")})
        seen.add(key)
        if not (node_port := one.get("nodePort")):
            continue
        if kind == "ClusterIP":
            why = "may not be used when `type` is 'ClusterIP'"
            yield Fault.forbidden(f"{where}.nodePort", why).following(f"{path}.type")
        if (protocol, node_port) in node_ports:
            yield Fault.duplicate(f"{where}.nodePort", node_port)
        node_ports.add((protocol, node_port))


def _addresses(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    kind, address = spec.get("type") or "ClusterIP", spec.get("clusterIP")
    addresses = spec.get("clusterIPs") or ()
    if kind == _EXTERNAL_NAME:
        if address:
            yield Fault.forbidden(f"{path}.clusterIPs", "may not be set for ExternalName services")
        if not spec.get("externalName"):
            yield Fault.required(f"{path}.externalName")
        return
    if address == _NONE and kind in _OUTSIDE:
        why = f"may not be set to 'None' for {kind} services"
        yield Fault.invalid(f"{path}.clusterIPs[0]", address, why)
    if addresses and address and addresses[0] != address:
        yield Fault.invalid(f"{path}.clusterIPs", addresses, "first value must match `clusterIP`")
    if addresses and not address:
        yield Fault.required(f"{path}.clusterIP", "must be set when `clusterIPs` is")


def _outside(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    for fault in _outside_alone(spec, path):
        yield fault.following(
            f"{path}.type", f"{path}.externalIPs", f"{path}.externalTrafficPolicy"
        )


def _outside_alone(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    kind = spec.get("type") or "ClusterIP"
    is_outside = kind in _OUTSIDE or bool(spec.get("externalIPs"))
    if (policy := spec.get("externalTrafficPolicy")) and not is_outside:
        why = "may only be set for externally-accessible services"
        yield Fault.invalid(f"{path}.externalTrafficPolicy", policy, why)
    needs_check = kind == "LoadBalancer" and policy == "Local"
    if (check := spec.get("healthCheckNodePort")) and not needs_check:
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield Fault.invalid(f"{path}.healthCheckNodePort", check, why)
    for name in ("loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(name) not in (None, []) and kind != "LoadBalancer":
            why = "may only be used when `type` is 'LoadBalancer'"
            yield Fault.forbidden(f"{path}.{name}", why)


def _target(value: object, path: str) -> Iterator[Fault]:
    """Check the target of a port; an empty one is the port itself."""
    if value not in (0, "") or isinstance(value, bool):
        yield from port_or_name(value, path)


_PORT: Check = record(
    {
        "port": port,
        "name": text(label_problem),
        "protocol": one_of("TCP", "UDP", "SCTP"),
        "targetPort": _target,
        "nodePort": port,
        "appProtocol": text(qualified_name_problem, empty=False),
    },
    required=("port",),
)
_FAMILY = one_of("IPv4", "IPv6", empty=False)
_SPEC = record(
    {
        "ports": listed(_PORT, unique="name"),
        "selector": labels,
        "clusterIP": text(_cluster_ip_problem),
        "clusterIPs": listed(text(_cluster_ip_problem), most=2),
        "type": one_of("ClusterIP", "NodePort", "LoadBalancer", _EXTERNAL_NAME),
        "externalIPs": listed(text(address_problem)),
        "sessionAffinity": one_of("ClientIP", _NONE),
        "sessionAffinityConfig": record(
            {"clientIP": record({"timeoutSeconds": integer(1, _MAX_AFFINITY)})}
        ),
        "loadBalancerIP": text(),
        "loadBalancerSourceRanges": listed(text()),
        "loadBalancerClass": text(qualified_name_problem),
        "allocateLoadBalancerNodePorts": flag,
        "externalName": text(lambda name: subdomain_problem(name.removesuffix("."))),
        "externalTrafficPolicy": one_of("Cluster", "Local"),
        "internalTrafficPolicy": one_of("Cluster", "Local", empty=False),
        "healthCheckNodePort": port,
        "publishNotReadyAddresses": flag,
        "ipFamilies": listed(_FAMILY, most=2),
        "ipFamilyPolicy": one_of("SingleStack", "PreferDualStack", "RequireDualStack", empty=False),
        "trafficDistribution": one_of(
            "PreferClose", "PreferSameZone", "PreferSameNode", empty=False
        ),
    },
    _ports,
    _addresses,
    _outside,
)


def service_faults(service: Service) -> Iterator[Fault]:
    """Yield what is wrong with a Service's spec."""
    yield from _SPEC(encode(service).get("spec") or {}, "spec")
