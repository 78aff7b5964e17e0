"""Quadlets of Podman (podman-systemd.unit(5)), read into services."""

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.api.values.devices import is_device
from upwell.formats.compose import values
from upwell.formats.compose.document import Document
from upwell.formats.compose.inspected import AUTO_UPDATE, InspectedContainer
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
from upwell.formats.compose.unit_file import UnitFile, UnitFileError, assigned, plain, words

type ReadFile = Callable[[str], bytes]
"""Reader of a file by its absolute path; raises OSError."""

SUFFIX = ".container"
_READ = frozenset({
    "AddCapability", "AddDevice", "Annotation", "AutoUpdate", "ContainerName", "DropCapability",
    "Entrypoint", "Environment", "EnvironmentFile", "Exec", "ExposeHostPort", "Group",
    "GroupAdd", "HealthCmd",
    "HealthInterval", "HealthRetries", "HealthTimeout", "Image", "Label", "Network",
    "NetworkAlias", "NoNewPrivileges", "PodmanArgs", "PublishPort", "ReadOnly", "StopTimeout",
    "Sysctl", "Tmpfs", "User", "Volume", "WorkingDir",
})  # fmt: skip
_WITHOUT_EFFECT = frozenset({
    "GlobalArgs", "HealthMaxLogCount", "HealthMaxLogSize", "HealthOnFailure",
    "HealthStartPeriod", "HealthStartupCmd", "HealthStartupInterval", "HealthStartupRetries",
    "HealthStartupSuccess", "HealthStartupTimeout", "HostName", "LogDriver", "LogOpt", "Notify",
    "Pull", "ReadOnlyTmpfs", "Retry", "RetryDelay", "RunInit", "ServiceName", "StartWithPod",
    "Timezone",
})  # fmt: skip
"""Keys about an engine, or that rollouts have their own way for."""


_FLAGS = {
    "--privileged": "privileged",
    **dict.fromkeys(("--interactive", "-i"), "stdin"),
    **dict.fromkeys(("--tty", "-t"), "tty"),
}
"""Arguments of `podman run` -> fields of a service."""


@dataclass(slots=True)
class _Reading:
    """Values of one file, and the reasons why it cannot be run otherwise."""

    name: str
    folder: str
    keys: Mapping[str, list[str]]
    read: ReadFile
    obstacles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def last(self, key: str) -> str:
        found = self.keys.get(key) or [""]
        return plain(found[-1])

    def flag(self, key: str) -> bool:
        return self.last(key).lower() in {"1", "yes", "true", "on"}

    def all_words(self, key: str) -> list[str]:
        return [word for value in self.keys.get(key, ()) for word in words(value)]


def read_quadlet(file: str, texts: Mapping[str, str], read: ReadFile) -> InspectedContainer:
    """Return the container of a `.container` file that does not run.

    `texts` has the file and its drop-ins by their paths, in the order in which systemd reads them;
    `read` gets the environment files. What it says that a service has no words for is an obstacle.
    Raises UnitFileError for what is no unit file.
    """
    unit_file = UnitFile()
    for path, text in texts.items():
        unit_file.read(text, path)
    name = posixpath.basename(file).removesuffix(SUFFIX)
    found = _Reading(name, posixpath.dirname(file), unit_file.section("Container"), read)
    try:
        service = _service(found, unit_file)
    except UnitFileError as error:
        found.obstacles.append(f"{file}: {error}")
        service = ComposeService(name)
    container_name = (found.keys.get("ContainerName") or [f"systemd-{name}"])[-1]
    return InspectedContainer(
        name=container_name,
        service=service,
        unit=f"{name}.service",
        runs=False,
        obstacles=tuple(found.obstacles),
        notes=tuple(found.notes),
    )


def _service(found: _Reading, unit_file: UnitFile) -> ComposeService:
    _look_at_keys(found, unit_file)
    image = found.last("Image")
    if not image:
        found.obstacles.append("names no Image")
    elif image.endswith((".image", ".build")):
        found.obstacles.append(f"its image is made by {image}: name an image of a registry")
    user, group = found.last("User"), found.last("Group")
    if user and not user.isdecimal():
        found.obstacles.append(f"its user {user!r} is a name: only a number can be given")
    labels = assigned(found.keys.get("Label", ()))
    if update := found.last("AutoUpdate"):
        labels[AUTO_UPDATE] = update
    devices = _devices(found)
    return ComposeService(
        found.name,
        image,
        entrypoint=_command(found.last("Entrypoint")),
        command=tuple(_shown(word) for word in found.all_words("Exec")),
        environment=_environment(found),
        ports=_ports(found),
        mounts=_mounts(found),
        health=_health(found),
        depends_on=_needed(unit_file),
        aliases=tuple(found.all_words("NetworkAlias")),
        labels=labels,
        annotations=assigned(found.keys.get("Annotation", ())),
        user=f"{user}:{group}" if group else user,
        groups=_groups(found),
        working_dir=found.last("WorkingDir"),
        read_only=found.flag("ReadOnly"),
        no_new_privileges=found.flag("NoNewPrivileges"),
        sysctls=assigned(found.keys.get("Sysctl", ())),
        cap_add=_capabilities(found, "AddCapability"),
        cap_drop=_capabilities(found, "DropCapability"),
        stop_grace_seconds=int(stop) if (stop := found.last("StopTimeout")).isdecimal() else None,
        devices=devices,
        **_arguments(found),
    )


def _devices(found: _Reading) -> tuple[str, ...]:
    """Return the devices; one behind `-` may be missing where its unit starts."""
    given = [*found.all_words("AddDevice"), *_device_arguments(found)]
    for device in given:
        if device.startswith("-"):
            found.obstacles.append(f"AddDevice={device}: a device that may be missing")
        elif not is_device(device):
            found.obstacles.append(
                f"its device {device!r} is none: /dev/NAME, or VENDOR/CLASS=NAME"
            )
    return tuple(dict.fromkeys(given))


def _device_arguments(found: _Reading) -> Iterator[str]:
    for option, value in option_values(found.all_words("PodmanArgs"), {"--device", "--gpus"}):
        yield f"nvidia.com/gpu={value}" if option == "--gpus" else value


def _look_at_keys(found: _Reading, unit_file: UnitFile) -> None:
    """Note what the file says and nothing here reads."""
    for key in found.keys:
        if key in _WITHOUT_EFFECT:
            found.notes.append(f"{key} is left out")
        elif key not in _READ and found.keys[key]:
            found.obstacles.append(f"{key} is not supported")
    for network in found.all_words("Network"):
        kind = network.partition(":")[0]
        if not (kind.endswith(".network") or kind in {"bridge", "podman", "private", "pasta"}):
            found.obstacles.append(f"uses the network {network!r}")
    if (unit_file.section("Service").get("Type") or [""])[-1] == "oneshot":
        found.obstacles.append("is of Type=oneshot: what ends is a Job")


def _needed(unit_file: UnitFile) -> tuple[str, ...]:
    """Return the services that its unit is ordered after."""
    unit = unit_file.section("Unit")
    named = [word for key in ("After", "Requires", "Wants") for one in unit.get(key, ())
             for word in one.split()]  # fmt: skip
    needed = (one.removesuffix(".service") for one in named if one.endswith(".service"))
    return tuple(dict.fromkeys(needed))


def _command(written: str) -> tuple[str, ...]:
    """Return a command: a JSON list, or one program."""
    if not written.startswith("["):
        return (written,) if written else ()
    try:
        found = json.loads(_shown(written))
    except ValueError as error:
        raise UnitFileError(f"{written!r} is no list in JSON") from error
    return tuple(map(str, found))


def _shown(word: str) -> str:
    """Return a word as a command gets it: systemd makes one dollar of two."""
    return word.replace("$$", "$")


def _environment(found: _Reading) -> dict[str, str]:
    variables: dict[str, str] = {}
    for written in found.keys.get("EnvironmentFile", ()):
        path = posixpath.join(found.folder, plain(written).removeprefix("-"))
        try:
            variables |= environment_of(found.read(path).decode())
        except (OSError, UnicodeDecodeError) as error:
            if not written.startswith("-"):
                why = getattr(error, "strerror", None) or "not UTF-8 text"
                found.obstacles.append(f"its environment file {path}: {why}")
    own = assigned(found.keys.get("Environment", ()))
    return variables | {name: _shown(value) for name, value in own.items()}


def environment_of(text: str) -> dict[str, str]:
    """Return the variables of an environment file of Podman, which takes each line as it is."""
    lines = (line.lstrip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, given, value in pairs if given}


def _ports(found: _Reading) -> tuple[PublishedPort, ...]:
    document = Document("", {})
    written = [plain(one) for one in found.keys.get("PublishPort", ())]
    exposed = [plain(one) for one in found.keys.get("ExposeHostPort", ())]
    ports = values.ports(document, (), [*written, *exposed])
    found.obstacles += [fault.partition(": ")[2] or fault for fault in document.faults]
    published: list[PublishedPort] = []
    for port in ports:
        if port.host_port is None and str(port.port) in written:
            found.obstacles.append(f"its port {port.port} is published at any free one: name it")
        elif port.host_port is not None and port.protocol == "sctp":
            found.obstacles.append(f"publishes {port.host_port}/sctp: host ports are TCP or UDP")
        else:
            published.append(port)
    return tuple(published)


def _mounts(found: _Reading) -> tuple[ServiceMount, ...]:
    mounts: list[ServiceMount] = []
    for written in found.keys.get("Volume", ()):
        value = plain(written)
        source, target, *options = value.split(":") if ":" in value else ("", value)
        read_only = bool(options) and "ro" in options[0].split(",")
        if not target.startswith("/"):
            found.obstacles.append(f"its volume {written!r} is none")
        elif source.startswith(("/", ".")):
            path = posixpath.normpath(posixpath.join(found.folder, source))
            mounts.append(ServiceMount(MountKind.BIND, target, path, read_only))
        else:
            mounts.append(ServiceMount(MountKind.VOLUME, target, _volume(found, source), read_only))
    in_memory = (plain(written).partition(":")[0] for written in found.keys.get("Tmpfs", ()))
    return (*mounts, *(ServiceMount(MountKind.TMPFS, target) for target in in_memory))


def _volume(found: _Reading, written: str) -> str:
    """Return the engine's name of a volume, which a `.volume` file may declare."""
    unit = written.removesuffix(".volume")
    if unit == written:
        return written
    declared = UnitFile()
    try:
        declared.read(found.read(posixpath.join(found.folder, written)).decode(), written)
    except (OSError, UnicodeDecodeError) as error:
        found.obstacles.append(f"its volume {written}: {getattr(error, 'strerror', None) or error}")
    names = declared.section("Volume").get("VolumeName") or [f"systemd-{unit}"]
    return plain(names[-1])


def _health(found: _Reading) -> HealthCheck | None:
    written = found.last("HealthCmd")
    if not written:
        return None
    if written == "none":
        return HealthCheck(disabled=True)
    command = _command(written) if written.startswith("[") else ("/bin/sh", "-c", _shown(written))
    document = Document("", {})
    interval = values.duration(
        document, (), found.last("HealthInterval") or None, DEFAULT_INTERVAL_SECONDS
    )
    timeout = values.duration(
        document, (), found.last("HealthTimeout") or None, DEFAULT_TIMEOUT_SECONDS
    )
    retries = found.last("HealthRetries")
    times = (max(1, interval), max(1, timeout))
    return HealthCheck(
        command, "", *times, int(retries) if retries.isdecimal() else DEFAULT_RETRIES
    )


def _arguments(found: _Reading) -> dict[str, Any]:
    """Return the fields of a service that further arguments of `podman run` set."""
    document = Document("", {})
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    flags: set[str] = set()
    for word in found.all_words("PodmanArgs"):
        option, _, value = word.partition("=")
        if option in {"--memory", "-m"} and value:
            limits["memory"] = values.memory(document, (), value)
        elif option == "--memory-reservation" and value:
            requests["memory"] = values.memory(document, (), value)
        elif option == "--cpus" and value:
            limits["cpu"] = values.cpus(document, (), value)
        elif word in _FLAGS:
            flags.add(_FLAGS[word])
        elif option in {"--device", "--gpus"} and value:
            continue  # among the devices
        else:
            found.obstacles.append(f"PodmanArgs={word} is not supported")
    amounts = {"limits": limits, "requests": requests}
    given = {key: {name: one for name, one in all_.items() if one} for key, all_ in amounts.items()}
    return {**given, **dict.fromkeys(flags, True)}


def _groups(found: _Reading) -> tuple[int, ...]:
    given = found.all_words("GroupAdd")
    found.obstacles += [
        f"its further group {one!r} is a name: only a number can be given"
        for one in given
        if not one.isdecimal()
    ]
    return tuple(int(one) for one in given if one.isdecimal())


def _capabilities(found: _Reading, key: str) -> tuple[str, ...]:
    return tuple(one.upper().removeprefix("CAP_") for one in found.all_words(key))
