"""Whole Compose file: its services in order, and what they share."""

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from upwell.formats.compose import keys, values
from upwell.formats.compose.document import Document, Path, load_document
from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.model import (
    DEFAULT_NETWORK,
    ComposeProject,
    ComposeService,
    MountKind,
    ProjectFile,
    PublishedPort,
)
from upwell.formats.compose.notations import check_notations
from upwell.formats.compose.services import ProjectContext, ServiceReader
from upwell.formats.compose.shape import check_shape

_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SERVICE = re.compile(r"[a-zA-Z0-9._-]+")


def parse_compose(
    text: str, source: str, context: ProjectContext, profiles: Collection[str] = ()
) -> ComposeProject:
    """Return the project of a Compose file; `source` names it in messages.

    Services with profiles are left out unless one of these, or `*`, is in `profiles`.
    Raises ComposeError with every fault, each with its line.
    """
    return read_project(load_document(text, source, context.environment), context, profiles)


def read_project(
    document: Document, context: ProjectContext, profiles: Collection[str] = ()
) -> ComposeProject:
    """Return the project of values that were read; raises ComposeError with every fault."""
    if document.faults:  # a value that is missing would only lead to further faults
        raise ComposeError(document.faults)
    project = _project(document, context, profiles)
    check_shape(document)
    check_notations(document)
    if document.faults:
        raise ComposeError(document.faults)
    return project


def _project(
    document: Document, context: ProjectContext, profiles: Collection[str]
) -> ComposeProject:
    _check_top(document)
    root = document.root
    bodies = {
        name: values.mapping(document, ("services", name), body)
        for name, body in values.mapping(document, ("services",), root.get("services")).items()
    }
    if not bodies and not document.faults:
        document.fault(("services",), "there are none: nothing to apply")
    wanted = {
        name: body for name, body in bodies.items() if _active(document, name, body, profiles)
    }
    services: dict[str, ComposeService] = {}
    for name, body in wanted.items():
        if _SERVICE.fullmatch(name) is None:
            document.fault(("services", name), "additional property is not allowed")
            continue
        services[name] = ServiceReader(document, context, name, body).read()
    volumes = _volumes(document)
    secrets = _files(document, "secrets", context)
    configs = _files(document, "configs", context)
    _check_networks(document, services.values())
    for service in services.values():
        _check_references(document, service, (volumes, secrets, configs))
        _check_dependencies(document, service, bodies, services)
    _check_host_ports(document, services.values())
    return ComposeProject(
        _ordered(document, services),
        volumes,
        tuple(secrets.values()),
        tuple(configs.values()),
        tuple(document.warnings),
        _name(document, context),
    )


def _name(document: Document, context: ProjectContext) -> str:
    """Return the project's name: the file's, that of the surroundings, or its folder's."""
    written = values.text(document, ("name",), document.root.get("name"))
    if written and _PROJECT.fullmatch(written) is None:
        document.fault(
            ("name",),
            f"invalid project name {written!r}: lower-case letters, digits, `-` and `_`, a letter"
            " or digit first",
        )
    name = written or context.environment.get("COMPOSE_PROJECT_NAME", "")
    # As Compose makes one of what people call their folders.
    of_folder = posixpath.basename(context.folder).lower()
    return name or re.sub(r"[^a-z0-9_-]", "", of_folder).lstrip("_-")


def _check_top(document: Document) -> None:
    root = document.root
    for key in root:
        if key == "include":
            document.fault(
                (key,), "not supported: write the file out with `docker compose config`, apply that"
            )
        elif key not in keys.TOP and not key.startswith("x-"):
            below = "additional property is not allowed; services stand below `services:`"
            why = keys.not_allowed(key, keys.TOP) if "services" in root else below
            document.fault((key,), why)
    if "version" in root:
        document.warn(("version",), "obsolete, and of no effect")


def _check_references(
    document: Document,
    service: ComposeService,
    defined: tuple[Collection[str], Collection[str], Collection[str]],
) -> None:
    """Refuse volumes, secrets and configs that the file does not define."""
    path: Path = ("services", service.name)
    volumes, secrets, configs = defined
    for mount in service.mounts:
        if mount.kind is MountKind.VOLUME and mount.source and mount.source not in volumes:
            document.fault((*path, "volumes"), f"refers to undefined volume {mount.source}")
    for section, grants, known in (
        ("secrets", service.secrets, secrets),
        ("configs", service.configs, configs),
    ):
        for grant in grants:
            if grant.source not in known:
                what = section.removesuffix("s")
                document.fault((*path, section), f"refers to undefined {what} {grant.source}")


def _check_dependencies(
    document: Document,
    service: ComposeService,
    known: Collection[str],
    active: Collection[str],
) -> None:
    path: Path = ("services", service.name, "depends_on")
    for other in service.depends_on:
        if other not in known:
            document.fault(path, f"depends on undefined service {other!r}")
        elif other not in active:
            document.fault(path, f"depends on {other!r}, whose profile is not active")


def _active(
    document: Document, name: str, body: Mapping[str, Any], profiles: Collection[str]
) -> bool:
    own = values.texts(document, ("services", name, "profiles"), body.get("profiles"))
    return not own or "*" in profiles or not set(own).isdisjoint(profiles)


def _volumes(document: Document) -> dict[str, str]:
    found: dict[str, str] = {}
    volumes = values.mapping(document, ("volumes",), document.root.get("volumes"))
    for name, body in volumes.items():
        path: Path = ("volumes", name)
        settings = values.mapping(document, path, body)
        for key, value in settings.items():
            if key in {"name", "external", "labels"} or key.startswith("x-"):
                continue
            if key == "driver" and value in ("local", None, ""):
                continue
            if key in {"driver", "driver_opts"}:
                if value:
                    document.fault(
                        (*path, key), "not supported: mount it on the machine, and bind its path"
                    )
            else:
                document.fault((*path, key), "additional property is not allowed")
        found[name] = values.text(document, (*path, "name"), settings.get("name")) or name
    return found


def _files(document: Document, section: str, context: ProjectContext) -> dict[str, ProjectFile]:
    found: dict[str, ProjectFile] = {}
    for name, body in values.mapping(document, (section,), document.root.get(section)).items():
        path: Path = (section, name)
        settings = values.mapping(document, path, body)
        for key in settings:
            if key not in {"file", "environment", "content", "external", "name", "labels"}:
                document.fault((*path, key), "not supported: name a file or a variable")
        if values.flag(document, (*path, "external"), settings.get("external")):
            external = values.text(document, (*path, "name"), settings.get("name")) or name
            found[name] = ProjectFile(name, None, external)
            continue
        found[name] = ProjectFile(name, _content(document, path, settings, context))
    return found


def _content(
    document: Document, path: Path, settings: Mapping[str, Any], context: ProjectContext
) -> bytes:
    if (text := settings.get("content")) is not None:
        return values.text(document, (*path, "content"), text).encode()
    if variable := values.text(document, (*path, "environment"), settings.get("environment")):
        if variable not in context.environment:
            document.fault((*path, "environment"), f"the variable {variable} is not set")
        return context.environment.get(variable, "").encode()
    file = values.text(document, (*path, "file"), settings.get("file"))
    if not file:
        document.fault(path, "names neither a file nor a variable, and is not external")
        return b""
    try:
        return context.read(context.path(file))
    except OSError as error:
        document.fault((*path, "file"), f"cannot read {file}: {error.strerror or error}")
        return b""


def _check_networks(document: Document, services: Iterable[ComposeService]) -> None:
    networks = values.mapping(document, ("networks",), document.root.get("networks"))
    for name, body in networks.items():
        path: Path = ("networks", name)
        settings = values.mapping(document, path, body)
        for key in settings:
            if key in {"driver_opts", "ipam", "enable_ipv6", "attachable", "internal", "driver"}:
                document.warn((*path, key), "no effect: instances share the machine's own network")
        if settings.get("external"):
            document.warn(
                path, "external: containers of the engine in it are reached by published ports only"
            )
    for service in services:
        for name in service.networks:
            if name != DEFAULT_NETWORK and name not in networks:
                document.fault(
                    ("services", service.name, "networks"), f"refers to undefined network {name}"
                )


def _check_host_ports(document: Document, services: Iterable[ComposeService]) -> None:
    """Refuse what Compose refuses when it starts the second: one port of the host, used twice."""
    holders: dict[tuple[int, str], list[tuple[str, PublishedPort]]] = {}
    for service in services:
        for port in service.ports:
            if port.host_port is None:
                continue
            if port.protocol == "sctp":
                document.fault(
                    ("services", service.name, "ports"),
                    f"port {port.host_port}/sctp of the host is not served: host ports are TCP or"
                    " UDP; keep this service with its engine",
                )
                continue
            if port.is_exclusive and service.replicas > 1:
                document.fault(
                    ("services", service.name, "ports"),
                    f"port {port.host_port}/udp of the host goes to one container, and"
                    f" {service.replicas} are wanted: scale it to 1",
                )
            others = holders.setdefault((port.host_port, port.protocol), [])
            for name, other in others:
                if port.is_at_one_with(other):
                    document.fault(
                        ("services", service.name, "ports"),
                        f"port {port.host_port}/{port.protocol} of the host is published by"
                        f" {name} already: publish another",
                    )
            others.append((service.name, port))


def _ordered(
    document: Document, services: Mapping[str, ComposeService]
) -> tuple[ComposeService, ...]:
    """Return the services, those that others depend on first; a circle is a fault."""
    ordered: dict[str, ComposeService] = {}
    left = dict(services)
    while left:
        batch = [name for name, one in left.items() if left.keys().isdisjoint(one.depends_on)]
        if not batch:
            circle = " -> ".join(sorted(left))
            document.fault(
                ("services", min(left), "depends_on"), f"dependency cycle detected: {circle}"
            )
            break
        for name in batch:
            ordered[name] = left.pop(name)
    return tuple(ordered.values())
