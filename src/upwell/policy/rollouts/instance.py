"""A revision's template as the instance that the runtime starts."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from upwell.api.apps import StatefulSet
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pod_template import Container, Lifecycle, PodTemplate, Volume, VolumeMount
from upwell.api.values.devices import device_of
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.api.values.security_context import SecurityFault
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.pod_security.namespaces import NamespaceProfiles, refusal
from upwell.policy.pod_security.standards import uses_host
from upwell.policy.pod_security.templates import PlacedTemplate
from upwell.policy.rollouts.containers.checks import action_of, probe_of
from upwell.policy.rollouts.containers.files import volume_files
from upwell.policy.rollouts.pod_template import (
    AUTHORITY_CONFIG_MAP,
    CONFIG_MAP,
    TOKEN_FOLDER,
    Identity,
    SourceName,
    Sources,
    TemplateError,
    account_of,
    environment,
    expand,
    mounts_token,
)
from upwell.policy.rollouts.rollout import Replica, available_since
from upwell.policy.rollouts.settings import instance_labels
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.workload.instance_spec import (
    ContainerSpec,
    EmptyDir,
    Files,
    HostPath,
    InstanceMount,
    InstanceSpec,
    InstanceUsers,
    Login,
    Owner,
    TokenFile,
    VolumeClaim,
)
from upwell.workload.interface import Instance, State

INSTANCE_PREFIX = "upwell-"
"""Beginning of the names of instances of workloads."""
_COPY = re.compile(r"-debug-[a-z0-9]{5}\Z")
"""End of the name that `oc debug pod/NAME` gives a copy: no instance's, as `is_reserved` says."""
_MAX_NAME = 200
"""Bytes; a folder and a container carry the name, with something of their own added."""
_MAX_HOSTNAME = 63
_REVISION_DIGITS = 8
_COMING_OR_THERE = frozenset({State.PULLING, State.INITIALIZING, State.RUNNING})

_VOLUME_KINDS = (
    "emptyDir, hostPath, secret, configMap, downwardAPI, projected or persistentVolumeClaim"
)
POD_ROLE = "pod"
"""Role of the instance of a stored Pod that is meant to end."""
_TOKEN_VOLUME = "kube-api-access"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class RevisionTemplate:
    """Parts that all instances of one revision have in common."""

    workload: Resource
    hash: str
    template: PodTemplate
    images: Mapping[str, str]
    """Container name -> pull spec with digest."""
    sources: Sources
    logins: tuple[Login, ...] = field(default=(), repr=False)
    insecure_registries: frozenset[str] = frozenset()
    profiles: NamespaceProfiles = field(default_factory=NamespaceProfiles)
    """Those of the workload's namespace, as it is now."""


def owner_of(key: ObjectKey) -> Owner:
    """Return the owner that instances of the workload carry."""
    return Owner(key.kind, key.namespace, key.name)


def key_of(owner: Owner) -> ObjectKey:
    """Return the workload that an instance belongs to."""
    return ObjectKey(owner.kind, owner.namespace, owner.name)


def instance_name(workload: Resource, revision: str, index: int | str) -> str:
    """Return the one name of this replica, or of what else `index` says: started once."""
    short = next(iter(workload.KIND.short_names), workload.KIND.singular)
    stem = f"{INSTANCE_PREFIX}{workload.namespace}-{short}-{workload.name}"
    if len(stem) > _MAX_NAME:
        digest = hashlib.sha256(stem.encode()).hexdigest()[:_REVISION_DIGITS]
        stem = f"{stem[:_MAX_NAME]}-{digest}"
    return f"{stem}-{revision[:_REVISION_DIGITS]}-{index}"


def is_reserved(name: str) -> bool:
    """Return True for a name that is kept for instances of workloads.

    That of a copy for debugging is free, whatever it was copied from: before the number at the end
    of an instance's name is its revision, which has eight digits, or a hook's moment.
    """
    return name.startswith(INSTANCE_PREFIX) and _COPY.search(name) is None


def index_of(name: str) -> int:
    """Return the index in an instance's name; -1 when it is not one of ours."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def is_interrupted(instance: Instance) -> bool:
    """Return True if the machine lost it, or its start was cut short: held against nobody."""
    cut_short = instance.state is State.CREATED and not instance.start_error
    return instance.state is State.LOST or cut_short


def replica_of(instance: Instance, *, drained: bool) -> Replica:
    """Return an instance as a rollout sees it."""
    return Replica(
        name=instance.name,
        index=index_of(instance.name),
        revision="" if instance.foreign or instance.moved else instance.revision,
        started_at=instance.started_at,
        ready_since=(instance.ready_since or instance.started_at) if instance.ready else None,
        ended=instance.state not in _COMING_OR_THERE,
        probed=instance.probed,
        interrupted=is_interrupted(instance),
        losses=instance.losses,
        restarts=instance.restarts,
        message=instance.message,
        drained=drained,
    )


def stays_up_at(instance: Instance) -> datetime | None:
    """Return when an instance that nothing probes has stayed up; None for any other."""
    if instance.probed or not instance.ready or instance.ready_since is None:
        return None
    return available_since(instance.ready_since, timedelta(0), probed=False)


def is_available(instance: Instance, min_ready: timedelta, now: datetime) -> bool:
    """Return True if the instance has been ready for long enough to be counted on."""
    since = instance.ready_since
    if not instance.ready or since is None:
        return False
    return available_since(since, min_ready, probed=instance.probed) <= now


def build(revision: RevisionTemplate, index: int) -> InstanceSpec:
    """Return the replica `index` of a revision; raises TemplateError."""
    name = instance_name(revision.workload, revision.hash, index)
    spec = _instance(revision, name, index)
    return replace(spec, volume_index=index, published=published_ports(revision.template.spec))


def build_task(revision: RevisionTemplate, name: str, role: str) -> InstanceSpec:
    """Return an instance that runs the revision's template once; raises TemplateError."""
    return replace(_instance(revision, name, 0), once=True, role=role)


def build_pod(revision: RevisionTemplate, name: str, *, once: bool) -> InstanceSpec:
    """Return the instance of a stored Pod, which knows itself by that name; raises TemplateError.

    `once`: it is meant to end.
    """
    pod = revision.workload.name
    hostname = pod[:_MAX_HOSTNAME].rstrip("-.")
    spec = _instance(revision, name, 0, pod)
    return replace(
        spec,
        once=once,
        role=POD_ROLE if once else "",
        hostname=hostname,
        published=published_ports(revision.template.spec),
    )


def _instance(
    revision: RevisionTemplate, name: str, index: int, known_as: str = ""
) -> InstanceSpec:
    pod = revision.template.spec
    if not pod.containers:
        raise TemplateError("InvalidTemplate", "spec.template.spec.containers is empty")
    if pod.host_network:
        raise TemplateError(
            "UnsupportedField", "hostNetwork is not supported on one machine: use a Service"
        )
    placed = PlacedTemplate("spec.template", revision.workload.namespace, revision.template)
    if why := refusal(placed, revision.profiles):
        raise TemplateError("PodSecurity", why)
    security = placed.pod
    _refuse_malformed((*placed.user_faults, *security.faults))
    sidecars = [one for one in pod.init_containers if one.restart_policy == "Always"]
    initial = [one for one in pod.init_containers if one.restart_policy != "Always"]
    labels = instance_labels(revision.workload, revision.template)
    identity = Identity(
        known_as or name,
        revision.workload.namespace,
        labels,
        revision.template.metadata.annotations,
        account_of(revision.template),
    )

    def container(one: Container) -> ContainerSpec:
        path = f"container {one.name}: securityContext"
        restrictions, faults = security.container(one.security_context, path)
        _refuse_malformed(faults)
        return replace(_container(one, revision, identity), security=restrictions)

    return InstanceSpec(
        name=name,
        owner=owner_of(revision.workload.key),
        revision=revision.hash,
        containers=(
            # First, as they serve the others; and the first owns the network of all.
            *(replace(container(one), sidecar=True) for one in sidecars),
            *(container(one) for one in pod.containers),
        ),
        init=tuple(container(one) for one in initial),
        volumes={
            **_claims(revision.workload, index),
            **{volume.name: _volume(volume, revision, identity) for volume in pod.volumes},
            **_token_volume(revision, identity),
        },
        logins=revision.logins,
        insecure_registries=revision.insecure_registries,
        labels=labels,
        hostname=f"{revision.workload.name[: _MAX_HOSTNAME - 7]}-{index}",
        owner_version=revision.workload.resource_version,
        volume_group=security.volumes,
        users=_users(placed),
    )


def _users(placed: PlacedTemplate) -> InstanceUsers:
    """Return whose user ids it runs with: the host's, if its root has to do with the host."""
    if placed.host_users is None:
        return InstanceUsers.HOST if uses_host(placed) else InstanceUsers.OWN_IF_POSSIBLE
    return InstanceUsers.HOST if placed.host_users else InstanceUsers.OWN


def _container(
    container: Container, revision: RevisionTemplate, identity: Identity
) -> ContainerSpec:
    env = environment(container, revision.sources, identity)
    image = revision.images.get(container.name, container.image)
    reference = parse_image(image, container.name)
    limits = container.resources.limits if container.resources else {}
    lifecycle = container.lifecycle or Lifecycle()
    return ContainerSpec(
        name=container.name,
        image=reference,
        command=tuple(expand(word, env) for word in container.command),
        args=tuple(expand(word, env) for word in container.args),
        env=env,
        working_dir=container.working_dir or "",
        stdin=container.stdin is True,
        tty=container.tty is True,
        mounts=(
            *(_mount(mount, revision) for mount in container.volume_mounts),
            *_token_mount(container, revision),
        ),
        readiness=probe_of(container.readiness_probe, container),
        liveness=probe_of(container.liveness_probe, container),
        startup=probe_of(container.startup_probe, container),
        post_start=action_of(lifecycle.post_start, container),
        pre_stop=action_of(lifecycle.pre_stop, container),
        memory_bytes=int(_quantity(limits["memory"])) if "memory" in limits else None,
        cpus=float(_quantity(limits["cpu"])) if "cpu" in limits else None,
        devices=tuple(device for name in limits if (device := device_of(name))),
    )


def _quantity(limit: str | float) -> Decimal:
    try:
        return parse_quantity(limit)
    except InvalidQuantityError as error:
        raise TemplateError("InvalidQuantity", str(error)) from error


def _refuse_malformed(faults: Sequence[SecurityFault]) -> None:
    """Raise TemplateError for a field whose meaning nobody can tell.

    What is known and not supported was told when it was written; objects of earlier versions have
    it, and it leaves their containers with the stricter default.
    """
    for fault in faults:
        if fault.is_malformed:
            raise TemplateError("InvalidSecurityContext", f"{fault.path}: {fault.message}")


def _mount(mount: VolumeMount, revision: RevisionTemplate) -> InstanceMount:
    known = {volume.name: volume for volume in revision.template.spec.volumes}
    if mount.name not in known.keys() | _claims(revision.workload, 0).keys():
        raise TemplateError("InvalidTemplate", f"volumeMounts names no volume: {mount.name!r}")
    claim = known[mount.name].persistent_volume_claim if mount.name in known else None
    read_only = bool(mount.read_only or (claim is not None and claim.read_only))
    return InstanceMount(mount.name, mount.mount_path, read_only, mount.sub_path or "")


def _claims(workload: Resource, index: int) -> dict[str, VolumeClaim]:
    """Return the claims of a StatefulSet's replica, one for each of its claim templates."""
    if not isinstance(workload, StatefulSet):
        return {}
    names = [template.metadata.name or "" for template in workload.spec.volume_claim_templates]
    return {
        name: VolumeClaim(workload.namespace, f"{name}-{workload.name}-{index}")
        for name in names
        if name
    }


def _volume(
    volume: Volume, revision: RevisionTemplate, identity: Identity
) -> EmptyDir | HostPath | VolumeClaim | Files:
    if volume.persistent_volume_claim is not None:
        return VolumeClaim(revision.workload.namespace, volume.persistent_volume_claim.claim_name)
    if volume.host_path is not None:
        return HostPath(volume.host_path.path, volume.host_path.type)
    if (files := volume_files(volume, revision.sources, identity)) is not None:
        return files
    others = sorted(volume.model_extra or {})
    if others and volume.empty_dir is None:
        raise TemplateError(
            "UnsupportedField",
            f"volume {volume.name}: {others[0]} is not supported on one machine;"
            f" use {_VOLUME_KINDS}",
        )
    return EmptyDir()


def _token_volume(revision: RevisionTemplate, identity: Identity) -> dict[str, Files]:
    """Return the volume of a token that no volume of the template names, if it asks for one.

    It is what Kubernetes' clients look for: `token`, `ca.crt`, `namespace`.
    """
    if not mounts_token(revision.template):
        return {}
    name = SourceName(CONFIG_MAP, AUTHORITY_CONFIG_MAP)
    content = {
        **revision.sources.all_of(name, optional=True),
        "namespace": identity.namespace.encode(),
    }
    token = TokenFile("token", identity.service_account, optional=True)
    return {_TOKEN_VOLUME: Files(content, tokens=(token,))}


def _token_mount(container: Container, revision: RevisionTemplate) -> Sequence[InstanceMount]:
    paths = {mount.mount_path.rstrip("/") for mount in container.volume_mounts}
    if not mounts_token(revision.template) or TOKEN_FOLDER in paths:
        return ()
    return (InstanceMount(_TOKEN_VOLUME, TOKEN_FOLDER, read_only=True),)


def parse_image(image: str, container: str) -> Reference:
    """Return the reference; raises TemplateError that names the container."""
    try:
        return Reference.parse(image.strip())
    except InvalidReferenceError as error:
        raise TemplateError("InvalidImage", f"container {container}: {error}") from error
