"""Services of workloads, for the engines that run them without Upwell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.settings import Workload, grace_seconds, template_of
from upwell.policy.rollouts.summary import desired_replicas
from upwell.policy.rollouts.trigger_annotation import parse
from upwell.workload.interface import (
    ContainerSpec,
    ExecProbe,
    Files,
    HostPath,
    InstanceMount,
    InstanceSpec,
    ProbeSpec,
    VolumeClaim,
)


@dataclass(frozen=True, slots=True)
class ReleasedService:
    """Service as another engine has it, with the files that it needs."""

    service: ComposeService
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Relative paths -> contents of Secrets and ConfigMaps."""
    notes: tuple[str, ...] = ()


def released(
    workload: Workload,
    spec: InstanceSpec,
    streams: Mapping[str, ImageStream],
    services: Iterable[Service],
    folders: tuple[str, str],
) -> ReleasedService:
    """Return a workload's service; `folders`: that of claims, and that of the files written.

    `spec` is an instance of it, and the two others are all of its namespace. Raises AdoptionError
    for what no Compose file can say.
    """
    if len(spec.containers) != 1 or spec.init:
        raise AdoptionError(
            f"{workload.key}: several containers share an instance, which neither Compose nor a"
            " Quadlet can say: keep it here, or split it"
        )
    (container,) = spec.containers
    template = template_of(workload)
    image = upstream_image(workload, streams) or str(container.image)
    mounts, files, notes = _mounts(spec, container, folders)
    own = template.metadata.labels
    aliases = tuple(
        one.name
        for one in services
        if one.spec.selector
        and one.name != workload.name
        and one.spec.selector.items() <= own.items()
    )
    security = container.security
    service = ComposeService(
        workload.name,
        image,
        entrypoint=container.command,
        command=container.args,
        environment=container.env,
        ports=tuple(
            PublishedPort(
                port.container_port, port.host_port, port.host_ip or "", port.protocol.lower()
            )
            for port in template.spec.containers[0].ports
        ),
        mounts=mounts,
        health=_health(container.readiness),
        aliases=aliases,
        user=_user(security.user, security.group),
        groups=security.groups,
        read_only=security.read_only_root,
        privileged=security.privileged,
        cap_add=security.add,
        cap_drop=security.drop,
        working_dir=container.working_dir,
        stop_grace_seconds=int(grace_seconds(template)),
        replicas=desired_replicas(workload),
        devices=container.devices,
        limits=_limits(container),
    )
    return ReleasedService(service, files, tuple(notes))


def upstream_image(workload: Workload, streams: Mapping[str, ImageStream]) -> str:
    """Return the image that the tag is imported from which the workload follows; empty: none."""
    pod = template_of(workload).spec
    triggers, _ = parse(workload.annotations.get(TRIGGERS_ANNOTATION, "[]"), pod)
    for trigger in triggers:
        wanted = StreamTag.named(trigger.tag, workload.namespace)
        stream = streams.get(wanted.stream)
        for tag in stream.spec.tags if stream is not None else ():
            if tag.name == wanted.tag and tag.imports:
                return tag.imports
    return ""


def _user(user: int | None, group: int | None) -> str:
    if user is None:
        return ""
    return str(user) if group is None else f"{user}:{group}"


def _limits(container: ContainerSpec) -> dict[str, str]:
    limits = {} if container.cpus is None else {"cpu": f"{int(container.cpus * 1000)}m"}
    if container.memory_bytes is not None:
        limits["memory"] = str(container.memory_bytes)
    return limits


def _health(probe: ProbeSpec | None) -> HealthCheck | None:
    """Return a check by a command; engines have no other."""
    if probe is None or not isinstance(probe.check, ExecProbe):
        return None
    return HealthCheck(
        probe.check.command,
        interval=max(1, int(probe.period)),
        timeout=max(1, int(probe.timeout)),
        retries=probe.failure_threshold,
    )


def _mounts(
    spec: InstanceSpec, container: ContainerSpec, folders: tuple[str, str]
) -> tuple[tuple[ServiceMount, ...], dict[str, bytes], list[str]]:
    claims, written = folders
    mounts: list[ServiceMount] = []
    files: dict[str, bytes] = {}
    notes: list[str] = []
    for mount in container.mounts:
        volume = spec.volumes[mount.volume]
        match volume:
            case VolumeClaim():
                source = f"{claims}/{volume.namespace}/{volume.name}"
            case HostPath():
                source = volume.path
            case Files() if volume.tokens:
                notes.append(f"{mount.path} held tokens of Upwell's API, and is left out")
                continue
            case Files():
                place = f"files/{spec.owner.name}/{mount.volume}"
                files |= {f"{place}/{name}": content for name, content in volume.content.items()}
                source = f"{written}/{place}"
            case _:
                mounts.append(ServiceMount(MountKind.TMPFS, mount.path))
                continue
        mounts.append(_bind(mount, source, read_only=isinstance(volume, Files)))
    return tuple(mounts), files, notes


def _bind(mount: InstanceMount, source: str, *, read_only: bool) -> ServiceMount:
    whole = f"{source}/{mount.sub_path}" if mount.sub_path else source
    return ServiceMount(MountKind.BIND, mount.path, whole, read_only=mount.read_only or read_only)
