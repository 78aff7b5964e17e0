"""From a ContainerSpec to the body of Podman's "create" request (libpod SpecGenerator)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upwell.workload.instance_spec import (
    ContainerSpec,
    Files,
    InstanceMount,
    InstanceSpec,
    PortMapping,
)
from upwell.workload.podman.confinement import DefaultLimits, confine
from upwell.workload.podman.users.ids import OwnIds
from upwell.workload.podman.volumes.kept_volumes import KeptVolume, is_kept
from upwell.workload.podman.volumes.pins import VolumePath

LABEL_UPWELL = "upwell.dev/instance"
LABEL_NAME = "upwell.dev/replica"
LABEL_CONTAINER = "upwell.dev/container"
LABEL_KIND = "upwell.dev/owner-kind"
LABEL_NAMESPACE = "upwell.dev/owner-namespace"
LABEL_OWNER = "upwell.dev/owner-name"
LABEL_REVISION = "upwell.dev/revision"
LABEL_RESTARTS = "upwell.dev/restarts"
LABEL_INIT = "upwell.dev/init"
"""On init containers alone: which of them it is, from 0."""
LABEL_ROLE = "upwell.dev/role"
LABEL_TIMELINE = "upwell.dev/timeline"
LABEL_OWNER_VERSION = "upwell.dev/owner-version"
LABEL_KEPT = "upwell.dev/kept-volumes"
"""JSON list of the paths of volumes that are kept with the owner, and are mounts of ours."""
LABEL_UNVERIFIED = "upwell.dev/image-unverified"
"""On containers whose image's registry could not be asked whether the namespace may have it."""

_MAX_LOG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ContainerContext:
    """Context into which a container of an instance is put."""

    upwell: str
    network: str
    joins: str | None
    """ID of the container whose network, host name and IPC this one shares; None for the first."""
    sources: Mapping[VolumePath, Path]
    """Paths of the host that the mounts show."""
    restarts: int
    hosts: Path | None = None
    """The file that is the instance's /etc/hosts; None leaves it to Podman."""
    kept: Mapping[str, Sequence[KeptVolume]] = field(default_factory=dict)
    """Container name -> the volumes that are kept with the owner."""
    init: int | None = None
    """Number of the init container, if it is one: on the network for itself."""
    timeline: str = ""
    """Timeline of the store that starts it."""
    limits: DefaultLimits = field(default_factory=DefaultLimits)
    users: OwnIds | None = None
    """The instance's own ids; None: the host's."""
    unverified: bool = False
    """The image's registry could not be asked whether the namespace may have it."""


def container_name(upwell: str, instance: str, container: str) -> str:
    """Return the name in Podman: deterministic, and unlike that of any other Upwell."""
    return f"upwell-{upwell}.{instance}.{container}"


def create_body(
    spec: InstanceSpec, container: ContainerSpec, surroundings: ContainerContext
) -> dict[str, Any]:
    """Return the request that creates `container`."""
    body: dict[str, Any] = {
        "name": container_name(surroundings.upwell, spec.name, container.name),
        "image": str(container.image),
        "labels": _labels(spec, container, surroundings),
        "env": dict(container.env),
        "httpproxy": False,  # the host's proxy is not the workload's environment
        "healthconfig": {"test": ["NONE"]},  # our probes decide, not the image
        "log_configuration": {"driver": "k8s-file", "size": _MAX_LOG_BYTES},
        **({"devices": [{"path": one} for one in container.devices]} if container.devices else {}),
        "mounts": [_mount(spec, mount, surroundings.sources) for mount in container.mounts],
    }
    if surroundings.hosts is not None and "/etc/hosts" not in {
        mount.path for mount in container.mounts
    }:
        body["mounts"].append(
            {
                "type": "bind",
                "source": str(surroundings.hosts),
                "destination": "/etc/hosts",
                "options": ["rbind", "ro"],
            }
        )
    if surroundings.init is None and spec.volume_index is not None:
        # Every other volume that the image declares lies below something that is mounted.
        body["image_volume_mode"] = "ignore"
        body["volumes"] = [
            {"Name": one.name, "Dest": one.path}
            for one in surroundings.kept.get(container.name, ())
        ]
    if container.command:
        body["entrypoint"] = list(container.command)
    if container.command or container.args:
        # An own command without args means none, not the image's (core/v1 Container).
        body["command"] = list(container.args)
    if container.stdin:
        body["stdin"] = True
    if container.tty:
        body["terminal"] = True
    if container.working_dir:
        body["work_dir"] = container.working_dir
    body |= confine(container, surroundings.limits, joins=surroundings.joins is not None)
    if surroundings.joins is None:
        body["netns"] = {"nsmode": "bridge"}
        body["Networks"] = {surroundings.network: {}}
        if surroundings.init is None and spec.published:
            body["portmappings"] = [_port_mapping(port) for port in spec.published]
        body["hostname"] = spec.hostname or spec.name[:63]
    else:
        for namespace in ("netns", "utsns", "ipcns"):
            body[namespace] = {"nsmode": "container", "value": surroundings.joins}
    if surroundings.users is not None:
        body |= _own_users(surroundings.users, surroundings.joins)
    return body


def _port_mapping(port: PortMapping) -> dict[str, Any]:
    return {
        "host_ip": port.host_ip,
        "host_port": port.host_port,
        "container_port": port.container_port,
        "protocol": port.protocol.lower(),
    }


def _own_users(ids: OwnIds, joins: str | None) -> dict[str, Any]:
    """Return the fields of a user namespace: the first makes it, as it does the network."""
    if joins is not None:
        return {"userns": {"nsmode": "container", "value": joins}}
    maps = [
        {"container_id": one.inside, "host_id": one.outside, "size": one.count}
        for one in ids.ranges
    ]
    return {"userns": {"nsmode": "private"}, "idmappings": {"UIDMap": maps, "GIDMap": maps}}


def _labels(
    spec: InstanceSpec, container: ContainerSpec, surroundings: ContainerContext
) -> dict[str, str]:
    own = {LABEL_ROLE: spec.role} if spec.role else {}
    if kept := [mount.path for mount in container.mounts if is_kept(mount.volume)]:
        own[LABEL_KEPT] = json.dumps(kept)
    if surroundings.unverified:
        own[LABEL_UNVERIFIED] = "true"
    if surroundings.init is not None:
        own[LABEL_INIT] = str(surroundings.init)
    return {
        **spec.labels,
        **own,
        LABEL_UPWELL: surroundings.upwell,
        LABEL_NAME: spec.name,
        LABEL_CONTAINER: container.name,
        LABEL_KIND: spec.owner.kind,
        LABEL_NAMESPACE: spec.owner.namespace,
        LABEL_OWNER: spec.owner.name,
        LABEL_REVISION: spec.revision,
        LABEL_RESTARTS: str(surroundings.restarts),
        LABEL_TIMELINE: surroundings.timeline,
        LABEL_OWNER_VERSION: spec.owner_version,
    }


def _mount(
    spec: InstanceSpec, mount: InstanceMount, sources: Mapping[VolumePath, Path]
) -> dict[str, Any]:
    read_only = mount.read_only or isinstance(spec.volumes.get(mount.volume), Files)
    return {
        "type": "bind",
        "source": str(sources[mount.volume, mount.sub_path]),
        "destination": mount.path,
        "options": ["rbind", "ro" if read_only else "rw"],
    }
