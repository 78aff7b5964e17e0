"""Volumes that instances write: claims that the template mounts, and those that images declare.

What an image declares and the template does not mount, the runtime keeps with the workload, for
each replica index.
"""

from collections.abc import Iterable, Iterator, Mapping

from upwell.api.pod_template import Container, PodTemplate
from upwell.policy.rollouts.settings import Workload, template_of


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
