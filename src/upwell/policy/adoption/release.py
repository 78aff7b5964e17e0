"""Services of workloads, for the engines that run them without Upwell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.pod_template import Container
from upwell.api.route import Route
from upwell.api.values.quantities import parse_quantity
from upwell.api.values.security_context import ContainerSecurity
from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)
from upwell.formats.compose.writing import has_lines
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.settings import Workload, grace_seconds, template_of
from upwell.policy.rollouts.starts.dependencies import DependencyCondition, dependencies_of
from upwell.policy.rollouts.summary import desired_replicas
from upwell.policy.rollouts.trigger_annotation import parse
from upwell.workload.instance_spec import (
    ContainerSpec,
    EmptyDir,
    ExecProbe,
    Files,
    HostPath,
    InstanceMount,
    InstanceSpec,
    ProbeSpec,
    VolumeClaim,
)

_OF_COMPOSE = ("com.docker.compose.", "io.podman.compose.")
"""Labels by which Compose knows its own containers."""


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """A file of a Secret or ConfigMap, as it is in the container."""

    content: bytes = field(repr=False)
    mode: int


@dataclass(frozen=True, slots=True)
class ReleasedService:
    """Service as another engine has it, with the files that it needs."""

    service: ComposeService
    files: Mapping[str, ReleasedFile] = field(default_factory=dict, repr=False)
    """By their relative paths."""
    notes: tuple[str, ...] = ()
    """Parts of it that no engine is told of."""

    def for_quadlet(self) -> "ReleasedService":
        """Return it with what a Quadlet cannot say noted too."""
        return replace(self, notes=(*self.notes, *_lost_in_quadlets(self.service)))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Objects in a namespace beside a workload."""

    streams: Mapping[str, ImageStream]
    services: Sequence[Service]
    routes: Sequence[Route]


def released(
    workload: Workload, spec: InstanceSpec, around: Surroundings, folders: tuple[str, str]
) -> ReleasedService:
    """Return a workload's service; `folders`: that of claims, and that of the files written.

    `spec` is an instance of it. Raises AdoptionError for what no Compose file can say.
    """
    if len(spec.containers) != 1 or spec.init:
        raise AdoptionError(
            f"{workload.key}: several containers share an instance, which neither Compose nor a"
            " Quadlet can say: keep it here, or split it"
        )
    (container,) = spec.containers
    template = template_of(workload)
    upstream = upstream_image(workload, around.streams)
    mounts, files, notes = _mounts(spec, container, folders)
    leading = [one for one in around.services if _leads_to(one, template.metadata.labels)]
    security = container.security
    needed = dependencies_of(workload)
    healthy = DependencyCondition.HEALTHY
    service = ComposeService(
        workload.name,
        upstream or str(container.image),
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
        depends_on=tuple(one.name for one in needed),
        healthy=tuple(one.name for one in needed if one.condition is healthy),
        aliases=tuple(one.name for one in leading if one.name != workload.name),
        labels=_own(template.metadata.labels),
        annotations=_own(template.metadata.annotations),
        user=_user(security.user, security.group),
        groups=security.groups,
        read_only=security.read_only_root,
        privileged=security.privileged,
        no_new_privileges=not (security.new_privileges or security.privileged),
        security_options=tuple(_security_options(security)),
        sysctls=dict(security.sysctls),
        cap_add=security.add,
        cap_drop=security.drop,
        working_dir=container.working_dir,
        stop_grace_seconds=int(grace_seconds(template)),
        stdin=container.stdin,
        tty=container.tty,
        replicas=desired_replicas(workload),
        devices=container.devices,
        limits=_limits(container),
        requests=_requests(template.spec.containers[0]),
    )
    notes += _lost(container, upstream, leading)
    for route in around.routes:
        if route.spec.to.name in {one.name for one in leading}:
            notes.append(f"its Route {route.name} is left out: put a proxy before its port")
    return ReleasedService(service, files, tuple(notes))


def among(found: Sequence[ReleasedService]) -> list[ReleasedService]:
    """Return services so that they wait for one another alone; what else they did is noted."""
    names = {one.service.name: one.service.health is not None for one in found}
    related: list[ReleasedService] = []
    for one in found:
        service, notes = one.service, list(one.notes)
        for name in service.depends_on:
            if name not in names:
                notes.append(f"it waits no longer for {name}, which is not among these files")
            elif name in service.healthy and not names[name]:
                notes.append(f"it waits until {name} runs: whether it is healthy is not known")
        known = tuple(name for name in service.depends_on if name in names)
        healthy = tuple(name for name in service.healthy if names.get(name))
        changed = replace(service, depends_on=known, healthy=healthy)
        related.append(replace(one, service=changed, notes=tuple(notes)))
    return related


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


def _leads_to(service: Service, labels: Mapping[str, str]) -> bool:
    return bool(service.spec.selector) and service.spec.selector.items() <= labels.items()


def _own(given: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in given.items() if not key.startswith(_OF_COMPOSE)}


def _user(user: int | None, group: int | None) -> str:
    if user is None:
        return ""
    return str(user) if group is None else f"{user}:{group}"


def _security_options(security: ContainerSecurity) -> Iterator[str]:
    if security.seccomp:
        yield f"seccomp={security.seccomp}"
    if security.apparmor:
        yield f"apparmor={security.apparmor}"
    yield from (f"label={one}" for one in security.selinux)
    if security.unmasked:
        yield "unmask=ALL"


def _limits(container: ContainerSpec) -> dict[str, str]:
    limits = {} if container.cpus is None else {"cpu": f"{int(container.cpus * 1000)}m"}
    if container.memory_bytes is not None:
        limits["memory"] = str(container.memory_bytes)
    return limits


def _requests(container: Container) -> dict[str, str]:
    given = container.resources.requests if container.resources is not None else {}
    amounts = {name: parse_quantity(given[name]) for name in ("cpu", "memory") if name in given}
    return {
        name: f"{amount * 1000:.0f}m" if name == "cpu" else f"{amount:.0f}"
        for name, amount in amounts.items()
    }


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


def _lost(container: ContainerSpec, upstream: str, leading: Iterable[Service]) -> Iterator[str]:
    """Yield what neither a Compose file nor a Quadlet says."""
    if not upstream:
        yield (
            f"its image {container.image} was not imported: where that is Upwell's own registry,"
            " push it to another one, and name that in the file"
        )
    if container.readiness is not None and not isinstance(container.readiness.check, ExecProbe):
        yield "its readiness probe is left out: engines check by a command in the container"
    for name, probe in (("liveness", container.liveness), ("startup", container.startup)):
        if probe is not None:
            yield f"its {name} probe is left out: engines have none"
    for name, hook in (("postStart", container.post_start), ("preStop", container.pre_stop)):
        if hook is not None:
            yield f"its {name} hook is left out"
    for service in leading:
        for port in service.spec.ports:
            if port.target_port not in {None, port.port}:
                yield (
                    f"{service.name}:{port.port} led to its port {port.target_port}: others reach"
                    " it by that one now"
                )


def _lost_in_quadlets(service: ComposeService) -> Iterator[str]:
    if service.replicas != 1:
        yield f"{service.replicas} instances were wanted: a Quadlet runs one"
    if "cpu" in service.requests:
        yield "its request of processors is left out"
    for name, value in service.environment.items():
        if has_lines(value):
            yield (
                f"its variable {name} has several lines: it is in the unit, which everybody on"
                " the machine can read"
            )


def _mounts(
    spec: InstanceSpec, container: ContainerSpec, folders: tuple[str, str]
) -> tuple[tuple[ServiceMount, ...], dict[str, ReleasedFile], list[str]]:
    claims, written = folders
    mounts: list[ServiceMount] = []
    files: dict[str, ReleasedFile] = {}
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
                for name, content in volume.content.items():
                    mode = volume.modes.get(name, volume.mode)
                    files[f"{place}/{name}"] = ReleasedFile(content, mode)
                source = f"{written}/{place}"
            case EmptyDir():
                notes.append(f"{mount.path} is in memory: an emptyDir was on the disk")
                mounts.append(ServiceMount(MountKind.TMPFS, mount.path))
                continue
        mounts.append(_bind(mount, source, read_only=isinstance(volume, Files)))
    for one in mounts:
        if ":" in one.source or ":" in one.target:
            raise AdoptionError(f"{spec.owner.name}: {one.source}: a `:` in a path cannot be said")
    return tuple(mounts), files, notes


def _bind(mount: InstanceMount, source: str, *, read_only: bool) -> ServiceMount:
    whole = f"{source}/{mount.sub_path}" if mount.sub_path else source
    return ServiceMount(MountKind.BIND, mount.path, whole, read_only=mount.read_only or read_only)
