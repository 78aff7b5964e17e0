"""Volumes that instances write, and what follows for a rollout: one instance at a time on them.

A volume is a claim that the template mounts, or one that the image declares and the template does
not mount: the runtime keeps that with the workload, for each replica index.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from upwell.api.core import Container, PodTemplate
from upwell.api.meta import Condition, Resource
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import WORKLOADS, Workload, settings_of, template_of
from upwell.policy.rollouts.steps import RolloutStrategy, Settings
from upwell.workload.interface import Instance

SHARE_ANNOTATION = "upwell.dev/share-volumes"
"""`true`: instances of two revisions may write the same volumes at the same time."""
STOPS_FIRST = "StopsBeforeStart"

_AS_DECLARED = Condition(type=STOPS_FIRST, status="False", reason="AsDeclared", message="")


@dataclass(frozen=True, slots=True)
class WrittenVolumes:
    """Volumes of a workload that instances of two revisions would both write."""

    claims: tuple[str, ...] = ()
    """Names of the claims."""
    declared: tuple[str, ...] = ()
    """Paths at which images declare volumes."""

    def __str__(self) -> str:
        names = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("persistentVolumeClaim", self.claims),
                ("the image's volume", self.declared),
            )
            if names
        ]
        return " and ".join(names)

    def __bool__(self) -> bool:
        return bool(self.claims or self.declared)


def written_volumes(workload: Workload, instances: Iterable[Instance] = ()) -> WrittenVolumes:
    """Return the volumes that only one revision may write at a time; none where they are shared.

    A claim counts where one replica is wanted: several share it anyway, as they are declared to.
    Which volumes an image declares, its instances show.
    """
    if workload.annotations.get(SHARE_ANNOTATION, "").strip().lower() == "true":
        return WrittenVolumes()
    single = getattr(workload.spec, "replicas", None) in {None, 1}
    claims = written_claims(template_of(workload)) if single else ()
    paths = {path for one in instances for path in one.volumes if not one.role}
    return WrittenVolumes(claims, tuple(sorted(paths)))


def written_claims(template: PodTemplate) -> tuple[str, ...]:
    """Return the claims that a container mounts and may write."""
    pod = template.spec
    claims = {
        volume.name: volume.persistent_volume_claim
        for volume in pod.volumes
        if volume.persistent_volume_claim is not None
        and not volume.persistent_volume_claim.read_only
    }
    written = {
        mount.name
        for container in (*pod.init_containers, *pod.containers)
        for mount in container.volume_mounts
        if not mount.read_only
    }
    return tuple(sorted({claim.claim_name for name, claim in claims.items() if name in written}))


def unmounted(container: Container, declared: Iterable[str]) -> tuple[str, ...]:
    """Return the declared paths that no volume of the container's template is mounted over."""
    mounted = [mount.mount_path for mount in container.volume_mounts]
    return tuple(path for path in sorted(declared) if not is_mounted(path, mounted))


def is_mounted(path: str, mounted: Iterable[str]) -> bool:
    """Return True if one of the mounts is at `path`, or above it."""
    place = f"{path.rstrip('/')}/"
    return any(place.startswith(f"{one.rstrip('/')}/") for one in mounted)


def one_at_a_time(settings: Settings, written: WrittenVolumes) -> Settings:
    """Return the settings under which two revisions never write the same volume at once."""
    if not written or settings.strategy is not RolloutStrategy.ROLLING:
        return settings
    return replace(
        settings,
        exclusive=True,
        max_surge=0,
        max_unavailable=max(settings.max_unavailable, 1),
    )


def stops_first(settings: Settings, written: WrittenVolumes) -> Condition:
    """Say whether the old instance is stopped before the new one starts, and why."""
    if not written or settings.strategy is not RolloutStrategy.ROLLING:
        return _AS_DECLARED
    return Condition(
        type=STOPS_FIRST,
        status="True",
        reason="VolumeIsWritten",
        message=f"{_because(written)}; annotation {SHARE_ANNOTATION}=true lets both run at once",
    )


def volume_warnings(resource: Resource) -> Iterator[str]:
    """Yield what the claims of a workload mean for its rollouts."""
    if not isinstance(resource, WORKLOADS):
        return
    try:
        settings = settings_of(resource)
    except TemplateError:
        return  # it is told of elsewhere, and nothing is rolled out
    written = written_volumes(resource)
    if one_at_a_time(settings, written) != settings:
        yield (
            f"{_because(written)}: declare strategy Recreate to say so yourself, or annotate"
            f" {SHARE_ANNOTATION}=true to let both run at once"
        )


def declared_warnings(resource: Workload, declared: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield which volumes of images no volume is mounted at; `declared`: container -> paths."""
    for container in template_of(resource).spec.containers:
        for path in unmounted(container, declared.get(container.name, ())):
            yield about_declared(container.name, path)


def declared_volumes(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the paths of volumes of an image from its metadata (image/docker10 DockerImage)."""
    config = metadata.get("Config")
    found = config.get("Volumes") if isinstance(config, Mapping) else None
    return tuple(sorted(found)) if isinstance(found, Mapping) else ()


def about_declared(container: str, path: str) -> str:
    """Say what becomes of the data of a volume that an image declares."""
    return (
        f"the image of container {container} declares the volume {path}, at which nothing is"
        " mounted: its files are kept with the workload for each replica, and each update stops"
        " the old instance first; mount a persistentVolumeClaim to give them a name of their own"
    )


def _because(written: WrittenVolumes) -> str:
    return (
        f"instances write {written}, so each update stops the old one before the new one starts,"
        " and nothing serves in between"
    )
