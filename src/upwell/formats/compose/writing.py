"""Services as a Compose file, and as Quadlets of Podman.

podman-systemd.unit(5); values are quoted as systemd.syntax(7) has it.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)

_STOP_MARGIN_SECONDS = 10
NETWORK = "upwell"
"""Network in which the containers of Quadlets find each other by name."""


def compose_text(services: Iterable[ComposeService]) -> str:
    """Return a Compose file."""
    document = {"services": {one.name: _escaped(_compose_service(one)) for one in services}}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _compose_service(service: ComposeService) -> dict[str, Any]:
    published = [_port(one) for one in service.ports if one.host_port is not None]
    inside = [str(one.port) for one in service.ports if one.host_port is None]
    fields: dict[str, Any] = {
        "image": service.image,
        "restart": "always",
        "entrypoint": list(service.entrypoint),
        "command": list(service.command),
        "environment": dict(service.environment),
        "ports": published,
        "expose": inside,
        "volumes": [_mount(one) for one in service.mounts if one.kind is not MountKind.TMPFS],
        "tmpfs": [one.target for one in service.mounts if one.kind is MountKind.TMPFS],
        "healthcheck": _health(service.health) if service.health is not None else {},
        "user": service.user,
        "working_dir": service.working_dir,
        "read_only": service.read_only,
        "privileged": service.privileged,
        "security_opt": [
            *(["no-new-privileges:true"] if service.no_new_privileges else []),
            *service.security_options,
        ],
        "sysctls": dict(service.sysctls),
        "group_add": list(map(str, service.groups)),
        "stdin_open": service.stdin,
        "tty": service.tty,
        "cap_add": list(service.cap_add),
        "cap_drop": list(service.cap_drop),
        "devices": list(service.devices),
        "networks": {"default": {"aliases": list(service.aliases)}} if service.aliases else {},
        "labels": dict(service.labels),
        "annotations": dict(service.annotations),
        "depends_on": {
            name: {"condition": "service_healthy" if name in service.healthy else "service_started"}
            for name in service.depends_on
        },
        "deploy": _deploy(service),
    }
    if service.stop_grace_seconds is not None:
        fields["stop_grace_period"] = f"{service.stop_grace_seconds}s"
    return {key: value for key, value in fields.items() if value}


def _port(port: PublishedPort) -> str:
    address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    text = f"{port.host_port}:{port.port}" + ("" if port.protocol == "tcp" else f"/{port.protocol}")
    return f"{address}:{text}" if address else text


def _mount(mount: ServiceMount) -> str:
    return f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}"


def _health(health: HealthCheck) -> dict[str, Any]:
    if not health.command:
        return {}
    return {
        "test": ["CMD", *health.command],
        "interval": f"{health.interval}s",
        "timeout": f"{health.timeout}s",
        "retries": health.retries,
    }


def _deploy(service: ComposeService) -> dict[str, Any]:
    given = {"limits": _amounts(service.limits), "reservations": _amounts(service.requests)}
    resources = {key: amounts for key, amounts in given.items() if amounts}
    deploy: dict[str, Any] = {"resources": resources} if resources else {}
    return {**deploy, "replicas": service.replicas} if service.replicas != 1 else deploy


def _amounts(quantities: Mapping[str, str]) -> dict[str, str]:
    return {
        "cpus" if name == "cpu" else name: cpus(value) if name == "cpu" else value
        for name, value in quantities.items()
    }


def cpus(quantity: str) -> str:
    """Return a number of processors for `500m`."""
    return f"{int(quantity[:-1]) / 1000:g}" if quantity.endswith("m") else quantity


def _escaped(value: Any) -> Any:
    """Return values in which a dollar is no variable."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def quadlet_network() -> str:
    """Return the `.network` file of all containers."""
    return f"[Network]\nNetworkName={NETWORK}\n"


def quadlet_text(service: ComposeService, folder: str = "") -> str:
    """Return the `.container` file of a service; `folder` has its `NAME.env`, if it is one."""
    lines = ["[Unit]", f"Description={_plain(service.name)}"]
    for one in service.depends_on:
        lines += [f"Wants={_plain(one)}.service", f"After={_plain(one)}.service"]
    lines += ["", "[Container]"]
    lines += [f"{key}={value}" for key, value in _quadlet_keys(service, folder)]
    lines += ["", "[Service]", "Restart=always"]
    if service.stop_grace_seconds is not None:
        lines.append(f"TimeoutStopSec={service.stop_grace_seconds + _STOP_MARGIN_SECONDS}")
    lines += ["", "[Install]", "WantedBy=multi-user.target default.target", ""]
    return "\n".join(lines)


def _quadlet_keys(service: ComposeService, folder: str) -> Iterator[tuple[str, str]]:
    yield "Image", _plain(service.image)
    yield "ContainerName", _plain(service.name)
    yield "Network", f"{NETWORK}.network"
    yield from (("NetworkAlias", _plain(alias)) for alias in service.aliases)
    yield "AutoUpdate", "registry"
    if service.entrypoint:
        yield "Entrypoint", _plain(_json(service.entrypoint))
    if service.command:
        yield "Exec", _words(service.command)
    if folder:
        yield "EnvironmentFile", _plain(f"{folder}/{service.name}.env")
    yield from (
        ("Environment", _quoted(f"{name}={value}"))
        for name, value in service.environment.items()
        if not folder or has_lines(value)
    )
    yield from (
        ("PublishPort", _port(port)) for port in service.ports if port.host_port is not None
    )
    yield from map(_quadlet_mount, service.mounts)
    yield from _quadlet_rights(service)
    if service.stop_grace_seconds is not None:
        yield "StopTimeout", str(service.stop_grace_seconds)
    if service.health is not None and service.health.command:
        yield "HealthCmd", _plain(_json(service.health.command))
        yield "HealthInterval", f"{service.health.interval}s"
        yield "HealthTimeout", f"{service.health.timeout}s"
        yield "HealthRetries", str(service.health.retries)


def _quadlet_mount(mount: ServiceMount) -> tuple[str, str]:
    if mount.kind is MountKind.TMPFS:
        return "Tmpfs", _plain(mount.target)
    return "Volume", _plain(_mount(mount))


def _quadlet_rights(service: ComposeService) -> Iterator[tuple[str, str]]:
    """Yield whose rights a container has, and what it may use."""
    if service.user:
        user, _, group = service.user.partition(":")
        yield "User", user
        if group:
            yield "Group", group
    if service.working_dir:
        yield "WorkingDir", _plain(service.working_dir)
    if service.read_only:
        yield "ReadOnly", "true"
    if service.no_new_privileges:
        yield "NoNewPrivileges", "true"
    yield from (("GroupAdd", str(one)) for one in service.groups)
    yield from (("Sysctl", _quoted(f"{name}={one}")) for name, one in service.sysctls.items())
    yield from (
        (key, _quoted(f"{name}={value}"))
        for key, given in (("Label", service.labels), ("Annotation", service.annotations))
        for name, value in given.items()
    )
    yield from (("AddCapability", one) for one in service.cap_add)
    yield from (("DropCapability", one) for one in service.cap_drop)
    yield from (("AddDevice", _plain(one)) for one in service.devices)
    arguments = [f"--memory={service.limits['memory']}"] if "memory" in service.limits else []
    arguments += [f"--cpus={cpus(service.limits['cpu'])}"] if "cpu" in service.limits else []
    arguments += (
        [f"--memory-reservation={service.requests['memory']}"]
        if "memory" in service.requests
        else []
    )
    arguments += ["--privileged"] if service.privileged else []
    arguments += [f"--security-opt={_plain(one)}" for one in service.security_options]
    arguments += ["--interactive"] if service.stdin else []
    arguments += ["--tty"] if service.tty else []
    if arguments:
        yield "PodmanArgs", " ".join(arguments)


def _json(words: Sequence[str]) -> str:
    return json.dumps(list(words))


def _plain(text: str) -> str:
    """Return a value in which systemd sees no specifier, no variable and no further line."""
    return text.replace("%", "%%").replace("$", "$$").replace("\n", " ")


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_plain(inner)}"'


def _words(words: Sequence[str]) -> str:
    return " ".join(_quoted(one) if shlex.quote(one) != one else _plain(one) for one in words)


def environment_file(values: Mapping[str, str]) -> str:
    """Return the environment file of a Quadlet: Podman takes each line as it is.

    What has several lines cannot be there: the Quadlet itself has it.
    """
    return "".join(f"{name}={one}\n" for name, one in values.items() if not has_lines(one))


def has_lines(value: str) -> bool:
    """Return True for a value that a file of one variable a line cannot have."""
    return "\n" in value or "\r" in value
