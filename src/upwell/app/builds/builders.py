"""Chooses who builds: Pods of the cluster, or Buildah on this machine."""

import logging

from upwell.app.builds.cluster import cluster_builder
from upwell.app.configuration import Configuration, buildah_settings, pod_settings
from upwell.app.outbound import Dialers
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.interface import Builder
from upwell.outbound.image_registries import ImageRegistries
from upwell.settings import ServerSettings
from upwell.store.kubernetes import KubernetesStore

log = logging.getLogger(__name__)


def open_builder(
    settings: ServerSettings,
    files: Configuration,
    dialers: Dialers,
    judged: ImageRegistries,
    cluster: KubernetesStore | None,
) -> Builder:
    """Return the builder; `cluster` is the API of where objects are, None on one machine.

    The log says at start who builds on a cluster.
    """
    pods = pod_settings(settings, files)
    if cluster is None or pods is None:
        if cluster is not None:
            log.warning("builds run in this server: [kubernetes.builds] names no image for Pods")
        return BuildahBuilder(buildah_settings(settings, files), dialers.sources, judged)
    log.info("builds run in Pods", extra={"image": pods.image, "privilege": pods.privilege})
    for registry in pods.unreachable:
        log.warning(
            "Pods do not reach the embedded registry: it listens on loopback",
            extra={"registry": registry},
        )
    namespaces = settings.kubernetes.namespaces
    return cluster_builder(cluster, pods, settings.data_dir, namespaces, dialers.sources)
