"""Containers as `podman inspect` and `docker inspect` print them, read into services.

What an image brings itself is left out: a later image has its own. Fields are those of the Docker
Engine API (v1.41, ContainerInspect); Podman writes the same names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from upwell.api.values.devices import is_cdi_device, is_device
from upwell.formats.compose.devices import requested_devices
from upwell.formats.compose.model import (
    DEFAULT_INTERVAL_SECONDS,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_SECONDS,
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)
from upwell.formats.compose.run_units import option_values

COMPOSE_SERVICE = ("com.docker.compose.service", "io.podman.compose.service")
COMPOSE_PROJECT = ("com.docker.compose.project", "io.podman.compose.project")
_DEPENDS_ON = "com.docker.compose.depends_on"
AUTO_UPDATE = "io.containers.autoupdate"
SYSTEMD_UNIT = "PODMAN_SYSTEMD_UNIT"
_NANO = 1_000_000_000
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_NUMERIC_USER = re.compile(r"\d+(?::\d+)?")
_DROPPED = {
    "Dns": "DNS servers",
    "DnsSearch": "DNS search domains",
    "DnsOptions": "DNS options",
    "ExtraHosts": "extra hosts",
    "GroupAdd": "further groups",
    "SecurityOpt": "security options",
}
_SHARED_MEMORY = {0, 65_536_000, 64 * 1024**2}
"""Bytes of /dev/shm by default: none told, Podman's, Docker's."""


@dataclass(frozen=True, slots=True)
class InspectedContainer:
    """A container that was found, and the service that it is."""

    name: str
    service: ComposeService
    digests: frozenset[str] = frozenset()
    """Digests by which registries know its image."""
    created: str = ""
    """Time at which its image was made, RFC 3339."""
    digest: str = ""
    """The one that the engine names for its image; empty: it was built here."""
    project: str = ""
    """Compose project that it belongs to."""
    unit: str = ""
    """systemd unit that runs it."""
    runs: bool = True
    """False: its unit is declared, and does not run."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Names of mounted volumes -> folders of the machine; one that was never made has none."""
    restart: str = ""
    """Restart policy of the engine."""
    obstacles: tuple[str, ...] = ()
    """Reasons why it cannot be run otherwise."""
    notes: tuple[str, ...] = ()
    """Options that it loses, as a service has no words for them."""


def read_container(
    inspected: Mapping[str, Any], image: Mapping[str, Any], unit: str = ""
) -> InspectedContainer:
    """Return what a container is, given the inspections of itself and of its image.

    `unit` runs it by a command of the engine; a label of Podman's says it otherwise.
    """
    config, base = _part(inspected, "Config"), _part(image, "Config")
    host = _part(inspected, "HostConfig")
    labels = _texts_by_name(config.get("Labels"))
    name = _container_name(inspected)
    unit = unit or labels.get(SYSTEMD_UNIT, "")
    ports, against_ports = _ports(host)
    devices, against_devices = _devices(config, host)
    mounts, volumes = _mounts(inspected)
    user, against_user = _user(config, base)
    service = _service(
        _first(labels, COMPOSE_SERVICE) or _service_name(name, unit), inspected, image
    )
    return InspectedContainer(
        name=name,
        service=replace(service, ports=ports, mounts=mounts, user=user, devices=devices),
        digests=_digests(inspected, image),
        digest=_digest(inspected, image),
        created=str(image.get("Created") or ""),
        project=_first(labels, COMPOSE_PROJECT),
        unit=unit,
        volumes=volumes,
        restart=str(_part(host, "RestartPolicy").get("Name") or ""),
        obstacles=(
            *_obstacles(host),
            *against_ports,
            *against_devices,
            *_lost_when_stopped(host, unit, mounts),
            *against_user,
        ),
        notes=tuple(_lost_options(host)),
    )


def _service(name: str, inspected: Mapping[str, Any], image: Mapping[str, Any]) -> ComposeService:
    """Return what no obstacle can come of: all but its ports, mounts, user and devices."""
    config, base = _part(inspected, "Config"), _part(image, "Config")
    host = _part(inspected, "HostConfig")
    labels = _texts_by_name(config.get("Labels"))
    of_image = _texts_by_name(base.get("Labels"))
    own = {key: value for key, value in labels.items() if of_image.get(key) != value}
    entrypoint = _command(config.get("Entrypoint"))
    changed = entrypoint != _command(base.get("Entrypoint"))
    command = _command(config.get("Cmd"))
    parts = [one.split(":") for one in labels.get(_DEPENDS_ON, "").split(",") if one]
    needed = [(one[0], one[1] if len(one) > 1 else "") for one in parts]
    return ComposeService(
        name=name,
        image=_image(inspected, config),
        entrypoint=entrypoint if changed else (),
        command=command if changed or command != _command(base.get("Cmd")) else (),
        environment=_environment(config, base),
        health=_health(config, base),
        depends_on=tuple(name for name, _ in needed),
        healthy=tuple(name for name, condition in needed if condition == "service_healthy"),
        aliases=_aliases(inspected, _container_name(inspected), labels),
        labels={key: value for key, value in own.items() if not _is_bookkeeping(key)},
        working_dir=_changed(config, base, "WorkingDir"),
        read_only=bool(host.get("ReadonlyRootfs")),
        privileged=bool(host.get("Privileged")),
        sysctls=_sysctls(config, host),
        cap_add=_capabilities(host, "CapAdd"),
        cap_drop=_capabilities(host, "CapDrop"),
        limits=_limits(host),
    )


def _container_name(inspected: Mapping[str, Any]) -> str:
    return str(inspected.get("Name") or "").lstrip("/")


def _user(config: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """Return the user that it has instead of the image's, and the obstacles that this is."""
    user = str(config.get("User") or "")
    if not user or user == str(base.get("User") or ""):
        return "", ()
    if _NUMERIC_USER.fullmatch(user) is None:
        return "", (f"its user {user!r} is a name: only a number can be given",)
    return user, ()


def _service_name(name: str, unit: str) -> str:
    """Return the container's name; that of the file for one that Quadlet has named after it."""
    stem = unit.removesuffix(".service")
    return stem if name == f"systemd-{stem}" else name


def _lost_options(host: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of a container that a service has no words for."""
    for key, what in _DROPPED.items():
        if host.get(key):
            yield f"its {what} are left out"
    # Podman lists its own defaults too, by the names of the kernel.
    limits = host.get("Ulimits")
    names = [str(_part({"": one}, "").get("Name") or "") for one in limits or ()]
    if given := [name for name in names if name and not name.startswith("RLIMIT_")]:
        yield f"its limits ({', '.join(given)}) are left out"
    if host.get("ShmSize") not in {None, *_SHARED_MEMORY}:
        yield "the size of its /dev/shm is left out"
    if host.get("PublishAllPorts"):
        yield "ports that its engine has chosen are not published: give them numbers of your own"


def _part(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = body.get(key)
    return found if isinstance(found, Mapping) else {}


def _texts_by_name(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): str(text) for key, text in value.items()}


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _command(value: Any) -> tuple[str, ...]:
    """Return a command; earlier Podmans write an entrypoint as one text."""
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(_texts(value))


def _first(labels: Mapping[str, str], keys: Sequence[str]) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")


def _changed(config: Mapping[str, Any], base: Mapping[str, Any], key: str) -> str:
    value = str(config.get(key) or "")
    default = "/" if key == "WorkingDir" else ""
    return "" if value == (str(base.get(key) or "") or default) else value


def _image(inspected: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the image by the name that it was started with."""
    return str(inspected.get("ImageName") or config.get("Image") or "")


def _environment(config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that the image and the engine do not give."""
    ours = dict(one.split("=", 1) for one in _texts(config.get("Env")) if "=" in one)
    given = dict(one.split("=", 1) for one in _texts(base.get("Env")) if "=" in one)
    of_engine = {"HOSTNAME", "HOME", "container", "TERM", "PATH"}
    return {
        name: value
        for name, value in ours.items()
        if given.get(name) != value and not (name in of_engine and name not in given)
    }


def _ports(host: Mapping[str, Any]) -> tuple[tuple[PublishedPort, ...], Sequence[str]]:
    """Return the published ports, and the obstacles that others are."""
    found: list[PublishedPort] = []
    obstacles: list[str] = []
    for key, bindings in _part(host, "PortBindings").items():
        number, _, protocol = str(key).partition("/")
        for binding in bindings or ():
            published = str(binding.get("HostPort") or "")
            if not published.isdecimal() or not number.isdecimal():
                continue
            if protocol == "sctp":
                obstacles.append(f"publishes {published}/sctp: host ports are TCP or UDP")
                continue
            address = str(binding.get("HostIp") or "")
            every = address in {"0.0.0.0", "::"}  # noqa: S104 - what the engine writes
            found.append(
                PublishedPort(
                    int(number), int(published), "" if every else address, protocol or "tcp"
                )
            )
    return tuple(dict.fromkeys(found)), obstacles


def _devices(
    config: Mapping[str, Any], host: Mapping[str, Any]
) -> tuple[tuple[str, ...], Sequence[str]]:
    """Return the devices, and the obstacles that others are.

    Podman shows what CDI devices come to, and the command names them.
    """
    named = option_values(_texts(config.get("CreateCommand")), {"--device", "--gpus"})
    asked = [f"nvidia.com/gpu={value}" if option == "--gpus" else value for option, value in named]
    if any(map(is_cdi_device, asked)):
        return tuple(dict.fromkeys(asked)), ()
    found: list[str] = []
    obstacles: list[str] = []
    for one in host.get("Devices") or ():
        parts = (one.get("PathOnHost"), one.get("PathInContainer"), one.get("CgroupPermissions"))
        text = ":".join(str(part) for part in parts if part)
        if not is_device(text):
            obstacles.append(f"has the device {text!r}, which is no path of /dev")
        found.append(text)
    for one in host.get("DeviceRequests") or ():
        count = str(one.get("Count") or "all")
        capabilities = {str(part) for group in one.get("Capabilities") or () for part in group}
        ids = tuple(_texts(one.get("DeviceIDs")))
        known = requested_devices(str(one.get("Driver") or ""), count, ids, capabilities)
        if not known:
            obstacles.append(f"has devices of the driver {one.get('Driver') or 'of its engine'}")
        found += known
    return tuple(dict.fromkeys(found)), obstacles


def _sysctls(config: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, str]:
    """Return kernel parameters: Docker shows them, and of Podman's the command has them."""
    given = option_values(_texts(config.get("CreateCommand")), {"--sysctl"})
    named = dict(value.split("=", 1) for _, value in given if "=" in value)
    return {**{key: str(one) for key, one in _part(host, "Sysctls").items()}, **named}


def _obstacles(host: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for key, what in (("NetworkMode", "network"), ("PidMode", "processes"), ("IpcMode", "IPC")):
        mode = str(host.get(key) or "")
        if mode == "host" or mode.startswith("container:"):
            found.append(f"shares the {what} of {mode.replace(':', ' ')}")
    if host.get("ExtraHosts"):
        found.append("has entries of its own in /etc/hosts (ExtraHosts)")
    return found


def _lost_when_stopped(
    host: Mapping[str, Any], unit: str, mounts: Sequence[ServiceMount]
) -> list[str]:
    """Return what the engine removes together with a container that was started with `--rm`.

    Its unit makes such a container anew, but not the files of its nameless volumes.
    """
    if not host.get("AutoRemove"):
        return []
    if not unit:
        return ["is removed when it stops (--rm), so that it could not be given back"]
    nameless = [one for one in mounts if one.kind is MountKind.VOLUME and not one.source]
    return [
        f"its nameless volume {one.target} is removed when it stops (--rm): give it a name"
        for one in nameless
    ]


def _mounts(
    inspected: Mapping[str, Any],
) -> tuple[tuple[ServiceMount, ...], dict[str, str]]:
    """Return what is mounted, and the folders of its volumes; nameless volumes have no name."""
    mounts: list[ServiceMount] = []
    volumes: dict[str, str] = {}
    for body in inspected.get("Mounts") or ():
        kind, target = body.get("Type"), str(body.get("Destination") or "")
        read_only = body.get("RW") is False
        if kind == "volume":
            name = str(body.get("Name") or "")
            # A nameless volume is named after what mounts it, or its files could not be kept.
            source = "" if _ANONYMOUS.fullmatch(name) else name
            mounts.append(ServiceMount(MountKind.VOLUME, target, source, read_only))
            volumes[source or target] = str(body.get("Source") or "")
        elif kind == "bind":
            mounts.append(
                ServiceMount(MountKind.BIND, target, str(body.get("Source") or ""), read_only)
            )
        elif kind == "tmpfs":
            mounts.append(ServiceMount(MountKind.TMPFS, target))
    known = {mount.target for mount in mounts}
    tmpfs = _part(_part(inspected, "HostConfig"), "Tmpfs")
    mounts += [ServiceMount(MountKind.TMPFS, str(one)) for one in tmpfs if one not in known]
    return tuple(mounts), volumes


def _health(config: Mapping[str, Any], base: Mapping[str, Any]) -> HealthCheck | None:
    """Return the container's check, or its image's: an instance has no other use of that."""
    check = _part(config, "Healthcheck") or _part(base, "Healthcheck")
    test = _texts(check.get("Test"))
    match test[:1]:
        case ["CMD"] if len(test) > 1:
            command = tuple(test[1:])
        case ["CMD-SHELL"] if len(test) > 1:
            command = ("/bin/sh", "-c", test[1])
        case _:
            return None
    return HealthCheck(
        command,
        interval=int(check.get("Interval") or 0) // _NANO or DEFAULT_INTERVAL_SECONDS,
        timeout=int(check.get("Timeout") or 0) // _NANO or DEFAULT_TIMEOUT_SECONDS,
        retries=int(check.get("Retries") or DEFAULT_RETRIES),
    )


def _aliases(inspected: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    own = {name, _first(labels, COMPOSE_SERVICE), str(inspected.get("Id") or "")[:12], ""}
    found: dict[str, None] = {}
    for network in _part(_part(inspected, "NetworkSettings"), "Networks").values():
        for alias in _texts(network.get("Aliases") if isinstance(network, Mapping) else ()):
            if alias not in own:
                found[alias] = None
    return tuple(found)


def _is_bookkeeping(label: str) -> bool:
    """Return True if an engine or Compose wrote the label for itself."""
    return label == SYSTEMD_UNIT or label.startswith(
        ("com.docker.compose.", "io.podman.compose.", "io.buildah.", "io.container.manager")
    )


def _capabilities(host: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return names of capabilities without `CAP_`; a privileged container has all of them."""
    if host.get("Privileged"):
        return ()
    return tuple(one.upper().removeprefix("CAP_") for one in _texts(host.get(key)))


def _limits(host: Mapping[str, Any]) -> dict[str, str]:
    memory, cpus = int(host.get("Memory") or 0), int(host.get("NanoCpus") or 0)
    limits = {"cpu": f"{cpus * 1000 // _NANO}m"} if cpus else {}
    return {**limits, "memory": str(memory)} if memory else limits


def _digest(inspected: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """Return a digest by which the image's registry has it."""
    named = str(inspected.get("ImageDigest") or "")
    listed = [one.rpartition("@")[2] for one in _texts(image.get("RepoDigests"))]
    return named or next(iter(listed), "")


def _digests(inspected: Mapping[str, Any], image: Mapping[str, Any]) -> frozenset[str]:
    named = [str(inspected.get("ImageDigest") or ""), str(image.get("Digest") or "")]
    named += [one.rpartition("@")[2] for one in _texts(image.get("RepoDigests"))]
    return frozenset(one for one in named if one.startswith("sha256:"))
