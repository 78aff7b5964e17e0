"""The Pod template of a workload, wherever it stands."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from upwell.api.validation.formats import (
    address_problem,
    label_problem,
    qualified_name_problem,
    subdomain_problem,
)
from upwell.api.validation.metadata import annotations
from upwell.api.validation.pods.containers import (
    containers,
    host_port_faults,
    image_faults,
    init_containers,
    mount_faults,
)
from upwell.api.validation.pods.handlers import sleep_faults
from upwell.api.validation.pods.identity import pod_identity
from upwell.api.validation.pods.scheduling import scheduling
from upwell.api.validation.pods.volume_sources import volumes
from upwell.api.validation.shapes import (
    INT32,
    INT64,
    Check,
    flag,
    integer,
    labels,
    listed,
    mapped,
    one_of,
    quantity,
    record,
    text,
)
from upwell.api.values.faults import Fault

_GRACE = 30
"""Seconds, where a Pod says nothing."""
_MAX_NAMESERVERS, _MAX_SEARCHES = 3, 32


def _search_problem(domain: str) -> str:
    return subdomain_problem(domain.removesuffix(".").replace("_", "-")) if domain != "." else ""


_DNS_CONFIG = record(
    {
        "nameservers": listed(text(address_problem, empty=False), most=_MAX_NAMESERVERS),
        "searches": listed(text(_search_problem, empty=False), most=_MAX_SEARCHES),
        "options": listed(record({"name": text(), "value": text()}, required=("name",))),
    }
)


def _dns(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield Fault.required(f"{path}.dnsConfig.nameservers", why)


def _process_namespaces(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if spec.get("hostPID") and spec.get("shareProcessNamespace"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield Fault.invalid(f"{path}.shareProcessNamespace", spec["shareProcessNamespace"], why)


def _names(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    taken = {container.get("name") for container in spec.get("containers") or ()}
    for at, container in enumerate(spec.get("initContainers") or ()):
        if (name := container.get("name")) in taken:
            yield Fault.duplicate(f"{path}.initContainers[{at}].name", name)


def _ports(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    on_host = bool(spec.get("hostNetwork"))
    serving = spec.get("containers") or ()
    yield from host_port_faults(serving, f"{path}.containers", host_network=on_host)
    for at, container in enumerate(spec.get("initContainers") or ()):
        # They run one after the other.
        where = f"{path}.initContainers[{at}].ports"
        for fault in host_port_faults((container,), "", host_network=False):
            yield Fault(where + fault.path.removeprefix("[0].ports"), fault.message, fault.cause)


def _pauses(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    grace = spec.get("terminationGracePeriodSeconds")
    for at, container in enumerate(spec.get("containers") or ()):
        seconds = _GRACE if grace is None else grace
        yield from sleep_faults(container, seconds, f"{path}.containers[{at}]")


_SPEC: dict[str, Check] = {
    "containers": containers,
    "initContainers": init_containers,
    "volumes": volumes,
    "restartPolicy": one_of("Always", "OnFailure", "Never"),
    "terminationGracePeriodSeconds": integer(-INT64, INT64),
    "activeDeadlineSeconds": integer(1, INT32),
    "dnsPolicy": one_of("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
    "dnsConfig": _DNS_CONFIG,
    "nodeSelector": labels,
    "serviceAccountName": text(subdomain_problem),
    "serviceAccount": text(),
    "automountServiceAccountToken": flag,
    "nodeName": text(subdomain_problem),
    "hostNetwork": flag,
    "hostPID": flag,
    "hostIPC": flag,
    "hostUsers": flag,
    "shareProcessNamespace": flag,
    "imagePullSecrets": listed(record({"name": text()})),
    "hostname": text(label_problem),
    "subdomain": text(label_problem),
    "setHostnameAsFQDN": flag,
    "schedulerName": text(),
    "hostAliases": listed(
        record(
            {
                "ip": text(address_problem),
                "hostnames": listed(text(subdomain_problem, empty=False)),
            },
            required=("ip",),
        )
    ),
    "priorityClassName": text(subdomain_problem),
    "priority": integer(-INT32 - 1),
    "preemptionPolicy": one_of("PreemptLowerPriority", "Never", empty=False),
    "readinessGates": listed(
        record({"conditionType": text(qualified_name_problem)}, required=("conditionType",))
    ),
    "schedulingGates": listed(
        record({"name": text(qualified_name_problem)}, required=("name",)), unique="name"
    ),
    "runtimeClassName": text(subdomain_problem),
    "enableServiceLinks": flag,
    "overhead": mapped(quantity),
    "os": record({"name": one_of("linux", "windows", empty=False)}, required=("name",)),
    "securityContext": pod_identity,
    **scheduling,
}
_POD_SPEC = record(
    _SPEC, _dns, _process_namespaces, _names, _ports, _pauses, required=("containers",)
)
_METADATA = record({"name": text(), "labels": labels, "annotations": annotations})


def template_faults(
    template: Mapping[str, Any],
    path: str,
    *,
    triggered: Collection[str] | None = (),
    claims: Collection[str] = (),
) -> Iterator[Fault]:
    """Yield what is wrong with a Pod template as JSON data, which stands at `path`.

    Containers in `triggered` get their images elsewhere and need none; None stands for all of
    them. `claims` are volumes that the workload makes.
    """
    yield from _METADATA(template.get("metadata") or {}, f"{path}.metadata")
    spec, where = template.get("spec") or {}, f"{path}.spec"
    yield from _POD_SPEC(spec, where)
    yield from _references(spec, where, triggered, claims)


def _references(
    spec: Mapping[str, Any],
    path: str,
    triggered: Collection[str] | None,
    claims: Collection[str],
) -> Iterator[Fault]:
    """Yield what of a Pod names nothing; parts of wrong types are told already."""
    known = {str(volume.get("name")) for volume in _objects(spec.get("volumes"))} | set(claims)
    for name in ("initContainers", "containers"):
        entries = _objects(spec.get(name))
        if len(entries) != len(spec.get(name) or ()):
            continue
        yield from image_faults(entries, f"{path}.{name}", triggered)
        for at, container in enumerate(entries):
            mounts = {
                field: _objects(container.get(field)) for field in ("volumeMounts", "volumeDevices")
            }
            yield from mount_faults(mounts, known, f"{path}.{name}[{at}]")


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
