"""Deployment of a service."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.apps import (
    TRIGGERS_ANNOTATION,
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    LabelSelector,
)
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.pod_template import (
    ClaimVolume,
    ConfigMapVolume,
    Container,
    ContainerPort,
    EnvVar,
    ExecAction,
    HostPathVolume,
    HttpGetAction,
    KeyToPath,
    PodSpec,
    PodTemplate,
    PodTemplateMeta,
    Probe,
    ResourceRequirements,
    SecretVolume,
    TcpSocketAction,
    Volume,
    VolumeMount,
)
from upwell.api.values.devices import resource_of
from upwell.formats.compose.model import (
    ComposeService,
    FileGrant,
    HealthCheck,
    MountKind,
    ServiceMount,
)
from upwell.policy.adoption.names import is_annotation, object_name
from upwell.policy.new_app.workloads import (
    PROBE_PERIOD_SECONDS,
    PROBE_TIMEOUT_SECONDS,
    PROGRESS_DEADLINE_SECONDS,
    UNRESOLVED,
)
from upwell.policy.rollouts.starts.dependencies import (
    DEPENDS_ON_ANNOTATION,
    Dependency,
    DependencyCondition,
)
from upwell.policy.rollouts.starts.takeover import START_ANNOTATION, UNTIL_ANNOTATION
from upwell.policy.rollouts.trigger_annotation import trigger_entry
from upwell.policy.rollouts.triggers import followers_of
from upwell.policy.rollouts.volumes.snapshots import SNAPSHOT_ANNOTATION, wants_snapshots

APP_LABEL = "app"
_FILE_MODE = 0o444
"""Compose's own mode of secrets and configs."""
_CONTENT = "content"
_STOP_SECONDS = 10
"""Compose's own stop_grace_period."""


@dataclass(frozen=True, slots=True)
class WorkloadNames:
    """Names of the objects that services share, by their names in the project."""

    claims: Mapping[str, str]
    secrets: Mapping[str, str]
    configs: Mapping[str, str]

    def claim(self, service: ComposeService, mount: ServiceMount) -> str:
        """Return the claim of a mounted volume; one without a name is named after its place."""
        if mount.source:
            return self.claims.get(mount.source) or object_name(mount.source)
        return object_name(f"{service.name}-{mount.target}")

    def anonymous_claims(self, service: ComposeService) -> Iterator[str]:
        """Yield the claims of volumes that only this service can have."""
        for mount in service.mounts:
            if mount.kind is MountKind.VOLUME and not mount.source:
                yield self.claim(service, mount)


def deployment(
    service: ComposeService,
    names: WorkloadNames,
    follows: str,
    labels: Mapping[str, str],
    *,
    updated: bool = True,
) -> Deployment:
    """Return the Deployment of a service; its image follows the stream's tag `follows`, if any.

    Its instances have `labels` besides the one that selects them.

    One that is not `updated` keeps its own image: its trigger is paused, so that it is known how
    far it is behind.
    """
    name = object_name(service.name)
    annotations: dict[str, str] = {}
    if follows:
        entry = trigger_entry(name, follows, paused=not updated)
        annotations[TRIGGERS_ANNOTATION] = json.dumps([entry])
    if service.depends_on:
        annotations[DEPENDS_ON_ANNOTATION] = ",".join(map(str, _dependencies(service)))
    if wants_snapshots(service.labels):
        annotations[SNAPSHOT_ANNOTATION] = "true"
    volumes, mounts = _volumes(service, names)
    image = UNRESOLVED if follows and updated else service.image
    pod: dict[str, Any] = {
        "containers": (_container(service, name, image, mounts),),
        "volumes": volumes,
        "termination_grace_period_seconds": _STOP_SECONDS
        if service.stop_grace_seconds is None
        else service.stop_grace_seconds,
    }
    of_pod: dict[str, Any] = {}
    if service.groups:
        of_pod["supplementalGroups"] = list(service.groups)
    if service.sysctls:
        of_pod["sysctls"] = [{"name": key, "value": one} for key, one in service.sysctls.items()]
    if of_pod:
        pod["security_context"] = of_pod
    described = {**service.labels, **service.annotations}
    kept = {key: value for key, value in described.items() if is_annotation(key)}
    about: dict[str, Any] = {"labels": {APP_LABEL: name, **labels}}
    if kept:
        about["annotations"] = kept
    template = PodTemplate(metadata=PodTemplateMeta(**about), spec=PodSpec(**pod))
    spec: dict[str, Any] = {
        "replicas": service.replicas,
        "selector": LabelSelector(match_labels={APP_LABEL: name}),
        "template": template,
        "progress_deadline_seconds": PROGRESS_DEADLINE_SECONDS,
    }
    if _runs_alone(service):
        spec["strategy"] = DeploymentStrategy(type="Recreate")
    metadata: dict[str, Any] = {"name": name, "labels": {APP_LABEL: name}}
    if annotations:
        metadata["annotations"] = annotations
    return Deployment(metadata=ObjectMeta(**metadata), spec=DeploymentSpec(**spec))


def _dependencies(service: ComposeService) -> Iterator[Dependency]:
    for name in service.depends_on:
        is_healthy = name in service.healthy
        condition = DependencyCondition.HEALTHY if is_healthy else DependencyCondition.STARTED
        yield Dependency(object_name(name), condition)


def begins_with(resource: Resource, image: str) -> Resource:
    """Return a Deployment that begins with `image`, and that nothing updates; all else as it is."""
    if not isinstance(resource, Deployment):
        return resource
    annotations = dict(resource.annotations)
    if is_updated(resource):
        del annotations[TRIGGERS_ANNOTATION]
    template = resource.spec.template
    (container,) = template.spec.containers
    containers = (container.model_copy(update={"image": image}),)
    pod = template.spec.model_copy(update={"containers": containers})
    spec = resource.spec.model_copy(update={"template": template.model_copy(update={"spec": pod})})
    metadata = resource.metadata.model_copy(update={"annotations": annotations})
    return resource.model_copy(update={"metadata": metadata, "spec": spec})


def during_takeover(resource: Resource, start: str, until: str) -> Resource:
    """Return a Deployment that starts at `start`, and is told of after `until`; all else as it is.

    Both as the annotations have them (`upwell.policy.rollouts.starts.takeover`).
    """
    if not isinstance(resource, Deployment):
        return resource
    marks = {START_ANNOTATION: start, UNTIL_ANNOTATION: until}
    annotations = {**resource.annotations, **marks}
    metadata = resource.metadata.model_copy(update={"annotations": annotations})
    return resource.model_copy(update={"metadata": metadata})


def is_updated(workload: Deployment) -> bool:
    """Return True if a tag that a container follows sets its image by itself."""
    return bool(followers_of(workload).automatic())


def _runs_alone(service: ComposeService) -> bool:
    """Return True if two instances must not, or cannot, run at once.

    They would write the same files, or have the same port of the machine.
    """
    return service.writes_files or any(port.is_exclusive for port in service.ports)


def _container(
    service: ComposeService, name: str, image: str, mounts: tuple[VolumeMount, ...]
) -> Container:
    fields: dict[str, Any] = {"name": name, "image": image}
    if service.entrypoint:
        fields["command"] = service.entrypoint
    if service.command:
        fields["args"] = service.command
    if service.environment:
        fields["env"] = tuple(
            EnvVar(name=key, value=value) for key, value in service.environment.items()
        )
    if ports := _ports(service):
        fields["ports"] = ports
    if mounts:
        fields["volume_mounts"] = mounts
    if (probe := _probe(service)) is not None:
        fields["readiness_probe"] = probe
    limits: dict[str, Any] = {
        **service.limits,
        **{resource_of(device): "1" for device in service.devices},
    }
    if limits or service.requests:
        fields["resources"] = ResourceRequirements(limits=limits, requests=dict(service.requests))
    if service.working_dir:
        fields["working_dir"] = service.working_dir
    for key, given in (("stdin", service.stdin), ("tty", service.tty)):
        if given:
            fields[key] = True
    if security := _security(service):
        fields["security_context"] = security
    return Container(**fields)


def _ports(service: ComposeService) -> tuple[ContainerPort, ...]:
    found: dict[tuple[int, str, int | None, str], ContainerPort] = {}
    for port in service.ports:
        fields: dict[str, Any] = {
            "container_port": port.port,
            "protocol": port.protocol.upper(),
        }
        if port.host_port is not None:
            fields["host_port"] = port.host_port
            if port.host_ip:
                fields["host_ip"] = port.host_ip
        found[port.port, port.protocol, port.host_port, port.host_ip] = ContainerPort(**fields)
    return tuple(found.values())


def _probe(service: ComposeService) -> Probe | None:
    """Return the readiness probe; by default a connection to the first published TCP port.

    Without one, an image that does not work would take the place of one that does.
    """
    health = service.health or HealthCheck(
        interval=PROBE_PERIOD_SECONDS, timeout=PROBE_TIMEOUT_SECONDS
    )
    if health.disabled:
        return None
    times: dict[str, Any] = {
        "period_seconds": health.interval,
        "timeout_seconds": health.timeout,
        "failure_threshold": health.retries,
    }
    if health.command:
        return Probe(exec=ExecAction(command=health.command), **times)
    published = [one for one in service.ports if one.protocol == "tcp"]
    first = next((one for one in published if one.host_port is not None), None)
    port = first or (published[0] if published and service.health is not None else None)
    if port is None:
        return None
    if health.http_path:
        return Probe(http_get=HttpGetAction(port=port.port, path=health.http_path), **times)
    return Probe(tcp_socket=TcpSocketAction(port=port.port), **times)


def _security(service: ComposeService) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if service.user:
        user, _, group = service.user.partition(":")
        found["runAsUser"] = int(user)
        if group:
            found["runAsGroup"] = int(group)
    if service.read_only:
        found["readOnlyRootFilesystem"] = True
    if service.privileged:
        found["privileged"] = True
    if service.no_new_privileges:
        found["allowPrivilegeEscalation"] = False
    capabilities = {
        key: [one.removeprefix("CAP_") for one in names]
        for key, names in (("add", service.cap_add), ("drop", service.cap_drop))
        if names
    }
    if capabilities:
        found["capabilities"] = capabilities
    return found


def _volumes(
    service: ComposeService, names: WorkloadNames
) -> tuple[tuple[Volume, ...], tuple[VolumeMount, ...]]:
    volumes: dict[str, Volume] = {}
    mounts: list[VolumeMount] = []
    for at, mount in enumerate(service.mounts):
        match mount.kind:
            case MountKind.VOLUME:
                claim = names.claim(service, mount)
                name = claim
                volume = Volume(name=name, persistent_volume_claim=ClaimVolume(claim_name=claim))
            case MountKind.BIND:
                name = f"bind-{at}"
                volume = Volume(name=name, host_path=HostPathVolume(path=mount.source))
            case MountKind.TMPFS:
                name = f"tmpfs-{at}"
                volume = Volume(name=name, empty_dir={})
        volumes.setdefault(name, volume)
        mounts.append(_mount(name, mount.target, mount.sub_path, read_only=mount.read_only))
    for at, grant in enumerate(service.secrets):
        name = f"secret-{at}"
        secret = SecretVolume(
            secret_name=names.secrets.get(grant.source, grant.source), items=(_item(grant),)
        )
        volumes[name] = Volume(name=name, secret=secret)
        mounts.append(_mount(name, grant.target, _CONTENT, read_only=True))
    for at, grant in enumerate(service.configs):
        name = f"config-{at}"
        config = ConfigMapVolume(
            name=names.configs.get(grant.source, grant.source), items=(_item(grant),)
        )
        volumes[name] = Volume(name=name, config_map=config)
        mounts.append(_mount(name, grant.target, _CONTENT, read_only=True))
    return tuple(volumes.values()), tuple(mounts)


def _item(grant: FileGrant) -> KeyToPath:
    mode = _FILE_MODE if grant.mode is None else grant.mode
    return KeyToPath(key=_CONTENT, path=_CONTENT, mode=mode)


def _mount(name: str, path: str, sub_path: str, *, read_only: bool) -> VolumeMount:
    fields: dict[str, Any] = {"name": name, "mount_path": path}
    if read_only:
        fields["read_only"] = True
    if sub_path:
        fields["sub_path"] = sub_path
    return VolumeMount(**fields)
