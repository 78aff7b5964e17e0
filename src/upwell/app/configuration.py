"""Configuration of Buildah and Podman, written at every start."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from upwell.app.data_folder import identify
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.confinement.network import BuildNetworkAccess
from upwell.builder.interface import BuildLimits
from upwell.builder.kubernetes.documents import RegistryFiles
from upwell.builder.kubernetes.manifests import PodSettings
from upwell.machine.authorities import write_authorities
from upwell.machine.containers_conf import write_containers_conf
from upwell.machine.disk import PressureCheck, no_pressure
from upwell.machine.private_file import write_whole
from upwell.outbound.image_registries import ImageRegistries
from upwell.policy.builds.run_policy import default_slots
from upwell.registry.hosts import RegistryHosts, is_loopback
from upwell.settings import ServerPlatform, ServerSettings
from upwell.settings.tables import PullVerification
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.confinement import DefaultLimits


@dataclass(frozen=True, slots=True)
class Configuration:
    """The files, and what they say."""

    instance_id: str
    containers_conf: Path
    registries_conf: Path
    authorities: Path | None
    """Folder of certificate authorities that registries are trusted by."""
    storage_driver: str
    limits_resources: bool
    """True if the machine lets us limit the memory and processors of builds."""


async def write_configuration(
    settings: ServerSettings, known_id: str = "", authority: Path | None = None
) -> Configuration:
    """Write what Buildah and Podman read, as this machine needs it.

    `known_id` is the instance-id that the database has, `authority` the file of what the embedded
    registry is trusted by, where that is verified. Raises DataFolderError.
    """
    data = settings.data_dir
    instance_id = identify(data, known_id)
    containers_conf = data / "containers.conf"
    conf = await write_containers_conf(
        containers_conf,
        settings.container_storage or data,
        private_storage=settings.container_storage is not None,
    )
    registries_conf = data / "registries.conf"
    write_whole(registries_conf, RegistryHosts(settings.registries).render_registries_conf())
    files = [authority, *(host.ca_file for host in settings.registries)]
    files += [mirror.ca_file for host in settings.registries for mirror in host.mirrors]
    return Configuration(
        instance_id,
        containers_conf,
        registries_conf,
        write_authorities(data / "authorities", [file for file in files if file is not None]),
        conf.storage_driver,
        conf.limits_resources,
    )


def buildah_settings(settings: ServerSettings, files: Configuration) -> BuildahSettings:
    """Return how builds run."""
    data, isolation = settings.data_dir, settings.build_isolation
    memory = isolation.memory_bytes or _machine_memory() * 3 // 4
    return BuildahSettings(
        work_dir=data / "builds",
        storage_root=data / "builder" / "storage",
        run_root=data / "builder" / "run",
        containers_conf=files.containers_conf,
        registries_conf=files.registries_conf,
        authorities=files.authorities,
        limits=BuildLimits(memory, pids=isolation.processes),
        limits_resources=files.limits_resources,
        user_namespaces=isolation.user_namespaces,
        network=isolation.network,
        networks=BuildNetworkAccess(isolation.allowed_networks),
        allow_host_network=isolation.host_network,
    )


def pod_settings(settings: ServerSettings, files: Configuration) -> PodSettings | None:
    """Return how builds run in Pods of the cluster; None: they do not."""
    builds = settings.kubernetes.builds
    if settings.on is not ServerPlatform.KUBERNETES or not builds.image:
        return None
    own = settings.internal_host
    is_near = settings.has_embedded_registry and is_loopback(own)
    return PodSettings(
        image=builds.image,
        privilege=builds.privilege,
        pull_secrets=builds.pull_secrets,
        pull_policy=str(builds.pull_policy or ""),
        service_account=builds.service_account,
        node_selector=builds.node_selector,
        tolerations=tuple(one.document for one in builds.tolerations),
        requests=builds.requests,
        storage=builds.storage,
        cache_claim=builds.cache_claim,
        allow_host_network=settings.build_isolation.host_network,
        registries=RegistryFiles(
            files.registries_conf.read_text(encoding="utf-8"), _contents(files.authorities)
        ),
        unreachable=frozenset({own}) if is_near else frozenset(),
    )


def _contents(folder: Path | None) -> tuple[bytes, ...]:
    return () if folder is None else tuple(one.read_bytes() for one in sorted(folder.iterdir()))


def _default_limits(settings: ServerSettings, files: Configuration) -> DefaultLimits:
    """Return the limits of containers that state none: one alone may not take the whole machine."""
    if not files.limits_resources:
        return DefaultLimits()
    limits = settings.workload_limits
    memory = limits.memory_bytes or _machine_memory() * 9 // 10
    return DefaultLimits(memory, limits.processes)


def build_slots(settings: ServerSettings) -> int:
    """Return how many builds run at once: as the settings say, or as the machine can take."""
    return settings.build_slots or default_slots(os.cpu_count() or 1, _machine_memory())


def build_storage(settings: ServerSettings) -> int:
    """Return the bytes that a build may take on the disk while it runs."""
    return settings.build_isolation.storage or shutil.disk_usage(settings.data_dir).total // 2


def _machine_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def podman_settings(
    settings: ServerSettings,
    files: Configuration,
    timeline: Callable[[], str] = str,
    registries: ImageRegistries | None = None,
    pressure: PressureCheck = no_pressure,
) -> PodmanSettings:
    """Return how workloads run.

    `timeline` tells the store's, `registries` judges images, `pressure` says that there is no room.
    """
    storage, workloads = settings.container_storage, settings.workload_limits
    return PodmanSettings(
        data_dir=settings.data_dir / "workloads",
        instance_id=files.instance_id,
        storage_root=storage / "storage" if storage else None,
        run_root=storage / "run" if storage else None,
        storage_driver=files.storage_driver if storage else None,
        containers_conf=files.containers_conf,
        registries_conf=files.registries_conf,
        authorities=files.authorities,
        allowed_host_paths=settings.allowed_host_paths,
        allowed_devices=settings.allowed_devices,
        limits=_default_limits(settings, files),
        user_namespaces=workloads.user_namespaces,
        always_verify_images=workloads.image_pull_verification is PullVerification.ALWAYS,
        preloaded_images=workloads.preloaded_images,
        timeline=timeline,
        registries=registries,
        pressure=pressure,
    )
