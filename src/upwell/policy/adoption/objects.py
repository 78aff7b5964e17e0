"""Objects of services: streams, builds, claims, Secrets and ConfigMaps, Services and Deployments.

A service keeps its name; its image is followed by a stream of the same name.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from upwell.api.core import STORAGE, ConfigMap, Secret, Service, ServicePort, ServiceSpec
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.storage import ClaimResources, PersistentVolumeClaim, PersistentVolumeClaimSpec
from upwell.api.values.devices import path_of
from upwell.formats.compose.model import (
    ComposeProject,
    ComposeService,
    MountKind,
    ProjectFile,
    PublishedPort,
)
from upwell.policy.adoption.builds import BuildInput, build_objects
from upwell.policy.adoption.images import followed_stream, followed_tag
from upwell.policy.adoption.labels import FollowRule, follow_rule
from upwell.policy.adoption.names import PROJECT_LABEL, AdoptionError, object_name
from upwell.policy.adoption.networks import network_labels, network_policies
from upwell.policy.adoption.workloads import APP_LABEL, WorkloadNames, deployment

_TCP = "tcp"
LOCAL = "localhost/"
"""Registry that Podman gives to images that were built on the machine: there is none to ask."""
CLAIM_SIZE = "1Gi"
"""Request of a claim, which is no limit of its folder."""


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """Objects in the order in which they are applied, and what the user is told."""

    objects: tuple[Resource, ...]
    notes: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    """Names of volumes -> names of their claims."""


def project_plan(
    project: ComposeProject, inputs: Mapping[str, BuildInput] | None = None
) -> AdoptionPlan:
    """Return the objects of a project; `inputs` has what is built, by the service.

    Raises AdoptionError.
    """
    _refuse_same_names(project)
    claims = {name: object_name(volume) for name, volume in project.volumes.items()}
    names = WorkloadNames(claims, _names(project.secrets), _names(project.configs))
    objects: list[Resource] = []
    notes: list[str] = list(project.warnings)
    used = {
        mount.source
        for service in project.services
        for mount in service.mounts
        if mount.kind is MountKind.VOLUME
    }
    objects += [_secret(one) for one in project.secrets if one.content is not None]
    objects += [_config_map(one) for one in project.configs if one.content is not None]
    objects += [claim(claims[name]) for name in project.volumes if name in used]
    objects += network_policies(project.services)
    for service in project.services:
        labels = network_labels(service, project.services)
        found, told = _service_objects(service, names, (inputs or {}).get(service.name), labels)
        objects += found
        notes += told
    if project.name:
        objects = [_of_project(one, project.name) for one in objects]
    return AdoptionPlan(tuple(objects), tuple(notes), claims)


def _of_project(resource: Resource, project: str) -> Resource:
    return resource.with_metadata(labels={**resource.labels, PROJECT_LABEL: project})


def _service_objects(
    service: ComposeService,
    names: WorkloadNames,
    build: BuildInput | None,
    labels: Mapping[str, str],
) -> tuple[list[Resource], list[str]]:
    name = object_name(service.name)
    rule = follow_rule(service.labels)
    objects: list[Resource] = [claim(one) for one in names.anonymous_claims(service)]
    follows = ""
    if service.build is not None:
        objects += build_objects(name, service, build or BuildInput())
        follows = f"{name}:latest"
    elif rule.watched and not service.image.startswith(LOCAL):
        objects.append(followed_stream(name, service.image, rule.selection))
        follows = followed_tag(name, service.image)
    objects += _services(service, name)
    updated = rule.updated or service.build is not None
    objects.append(deployment(service, names, follows, labels, updated=updated))
    return objects, _notes(service, rule)


def watching_stream(service: ComposeService) -> ImageStream:
    """Return the stream that watches a service's image, and changes nothing."""
    return followed_stream(object_name(service.name), service.image)


def claim(name: str) -> PersistentVolumeClaim:
    """Return the claim of a volume."""
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name),
        spec=PersistentVolumeClaimSpec(
            access_modes=("ReadWriteOnce",),
            resources=ClaimResources(requests={STORAGE: CLAIM_SIZE}),
        ),
    )


def _services(service: ComposeService, name: str) -> Iterator[Service]:
    """Yield what other services reach it by: its name, and its aliases."""
    wanted = dict.fromkeys((name, *(object_name(alias) for alias in service.aliases)))
    ports = tcp_ports(service.ports)
    for one in wanted:
        if ports:
            spec = ServiceSpec(
                selector={APP_LABEL: name},
                ports=tuple(
                    ServicePort(name=f"{port}-tcp", port=port, target_port=port) for port in ports
                ),
            )
        else:
            # Nobody has said a port: the name stands for the instances, and every port works.
            spec = ServiceSpec(selector={APP_LABEL: name}, cluster_ip="None")
        yield Service(metadata=ObjectMeta(name=one, labels={APP_LABEL: name}), spec=spec)


def tcp_ports(ports: Iterable[PublishedPort]) -> list[int]:
    """Return the container's TCP ports, each once."""
    return list(dict.fromkeys(port.port for port in ports if port.protocol == _TCP))


def _secret(file: ProjectFile) -> Secret:
    content = {"content": file.content or b""}
    return Secret(
        metadata=ObjectMeta(name=object_name(file.name)), data=Secret.encode_values(content)
    )


def _config_map(file: ProjectFile) -> ConfigMap:
    metadata = ObjectMeta(name=object_name(file.name))
    content = file.content or b""
    try:
        return ConfigMap(metadata=metadata, data={"content": content.decode()})
    except UnicodeDecodeError:
        return ConfigMap(
            metadata=metadata, binary_data={"content": base64.b64encode(content).decode()}
        )


def _names(files: Iterable[ProjectFile]) -> dict[str, str]:
    return {file.name: object_name(file.external or file.name) for file in files}


def _notes(service: ComposeService, rule: FollowRule) -> list[str]:
    notes = [f"{service.name}: {note}" for note in rule.notes]
    paths = sorted(mount.source for mount in service.mounts if mount.kind is MountKind.BIND)
    if paths:
        notes.append(
            f"{service.name}: binds {', '.join(paths)} of the machine: the server's setting"
            " allowed-host-paths has to allow it"
        )
    if devices := sorted(map(path_of, service.devices)):
        notes.append(
            f"{service.name}: has {', '.join(devices)} of the machine: the server's setting"
            " allowed-devices has to allow it"
        )
    return notes


def _refuse_same_names(project: ComposeProject) -> None:
    sets: tuple[tuple[str, Collection[str]], ...] = (
        ("services", [service.name for service in project.services]),
        ("volumes", list(project.volumes.values())),
        ("secrets", [file.name for file in project.secrets]),
        ("configs", [file.name for file in project.configs]),
    )
    for what, names in sets:
        seen: dict[str, str] = {}
        for written in names:
            other = seen.setdefault(object_name(written), written)
            if other != written:
                raise AdoptionError(
                    f"{what} {other} and {written} would both be named {object_name(written)}:"
                    " rename one"
                )
