"""Containers of a Pod: what each may say, and what several may not say together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from upwell.api.validation.formats import label_problem, port_name_problem, relative_path_problem
from upwell.api.validation.pods.environment import variable_sets, variables
from upwell.api.validation.pods.handlers import lifecycle, probes
from upwell.api.validation.pods.identity import identity
from upwell.api.validation.pods.resources import requirements
from upwell.api.validation.shapes import Check, flag, listed, one_of, port, record, text
from upwell.api.values.faults import Fault
from upwell.oci import InvalidReferenceError, Reference

_PORTS = listed(
    record(
        {
            "containerPort": port,
            "hostPort": port,
            "name": text(port_name_problem),
            "protocol": one_of("TCP", "UDP", "SCTP"),
            "hostIP": text(),
        },
        required=("containerPort",),
    ),
    unique="name",
)


def _image_problem(image: str) -> str:
    if not image.strip():
        return ""  # OpenShift's spelling of an image that a trigger sets
    try:
        Reference.parse(image.strip())
    except InvalidReferenceError as error:
        return str(error)
    return ""


def _one_sub_path(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("subPath") and value.get("subPathExpr"):
        why = "subPathExpr and subPath are mutually exclusive"
        yield Fault.invalid(f"{path}.subPathExpr", value["subPathExpr"], why)


_MOUNTS = listed(
    record(
        {
            "name": text(),
            "mountPath": text(),
            "readOnly": flag,
            "subPath": text(relative_path_problem),
            "subPathExpr": text(relative_path_problem),
            "mountPropagation": one_of("None", "HostToContainer", "Bidirectional", empty=False),
            "recursiveReadOnly": one_of("Disabled", "IfPossible", "Enabled", empty=False),
        },
        _one_sub_path,
        required=("name", "mountPath"),
    )
)
_DEVICES = listed(record({"name": text(), "devicePath": text()}, required=("name", "devicePath")))
_TERMINATION = one_of("File", "FallbackToLogsOnError")
_SHARED: dict[str, Check] = {
    "name": text(label_problem),
    "image": text(_image_problem),
    "command": listed(text()),
    "args": listed(text()),
    "workingDir": text(),
    "env": variables,
    "envFrom": variable_sets,
    "ports": _PORTS,
    "resources": requirements,
    "resizePolicy": listed(
        record(
            {
                "resourceName": one_of("cpu", "memory", empty=False),
                "restartPolicy": one_of("NotRequired", "RestartContainer", empty=False),
            },
            required=("resourceName", "restartPolicy"),
        )
    ),
    "volumeMounts": _MOUNTS,
    "volumeDevices": _DEVICES,
    "imagePullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "terminationMessagePath": text(),
    "terminationMessagePolicy": _TERMINATION,
    "stdin": flag,
    "stdinOnce": flag,
    "tty": flag,
    "securityContext": identity,
    **probes,
    "lifecycle": lifecycle,
}
_ALWAYS = "Always"
_OF_SERVING = ("lifecycle", *probes)


def _init_rules(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("restartPolicy") == _ALWAYS:
        return
    for name in _OF_SERVING:
        if value.get(name) is not None:
            why = "may not be set for init containers without restartPolicy=Always"
            yield Fault.forbidden(f"{path}.{name}", why)


def _no_restart_policy(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if value.get("restartPolicy") is not None:
        yield Fault.forbidden(f"{path}.restartPolicy", "may not be set for non-init containers")


containers = listed(
    record({**_SHARED, "restartPolicy": text()}, _no_restart_policy, required=("name",)),
    unique="name",
)
init_containers = listed(
    record(
        {**_SHARED, "restartPolicy": one_of(_ALWAYS, empty=False)}, _init_rules, required=("name",)
    ),
    unique="name",
)


def image_faults(
    entries: Sequence[Mapping[str, Any]], path: str, triggered: Collection[str] | None
) -> Iterator[Fault]:
    """Yield containers without an image, but those of `triggered`, or all if it is None."""
    for at, container in enumerate(entries):
        if triggered is None or container.get("name") in triggered:
            continue
        if not container.get("image"):
            yield Fault.required(f"{path}[{at}].image")


def mount_faults(
    container: Mapping[str, Any], volumes: Collection[str], path: str
) -> Iterator[Fault]:
    """Yield mounts and devices of a valid container that name no volume, or share a path."""
    taken: set[str] = set()
    for field, target in (("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
        for at, mount in enumerate(container.get(field) or ()):
            where, name, place = f"{path}.{field}[{at}]", mount.get("name"), mount.get(target)
            if name and name not in volumes:
                yield Fault.not_found(f"{where}.name", name)
            if place in taken:
                yield Fault.invalid(f"{where}.{target}", place, "must be unique")
            taken.add(place)


def host_port_faults(
    entries: Sequence[Mapping[str, Any]], path: str, *, host_network: bool
) -> Iterator[Fault]:
    """Yield ports of the machine that valid containers would have twice."""
    seen = set()
    for at, container in enumerate(entries):
        for number, wanted in enumerate(container.get("ports") or ()):
            where = f"{path}[{at}].ports[{number}].hostPort"
            if not (host_port := wanted.get("hostPort")):
                continue
            if host_network and host_port != wanted.get("containerPort"):
                why = "must match `containerPort` when `hostNetwork` is true"
                yield Fault.invalid(where, host_port, why)
            key = (wanted.get("protocol") or "TCP", wanted.get("hostIP") or "", host_port)
            if key in seen:
                yield Fault.duplicate(where, "/".join(map(str, key)))
            seen.add(key)
