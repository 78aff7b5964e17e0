"""Snapshot of all objects that decide on builds and rollouts."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from upwell.api.apps import CronJob, Deployment, Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.clusters.cluster import Cluster
from upwell.api.core import ResourceQuota, Service
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import ClusterImagePolicy, ImagePolicy
from upwell.api.meta import Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.api.route import Route
from upwell.cli.core.terminal import echo
from upwell.oci.registry_names import OwnRegistry, serve_as
from upwell.policy.cluster_rollouts.deployment_configs import images_of_template
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.cluster_rollouts.observation import is_rolled_out, is_stuck
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.rollouts.commands import is_native
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Selector, StoreError
from upwell.store.kubernetes_errors import StoreForbiddenError

_KINDS: tuple[type[Resource], ...] = (
    ImageStream,
    BuildConfig,
    Build,
    *WORKLOADS,
    CronJob,
    Pipeline,
    Release,
    Promotion,
    Route,
    Ingress,
    Service,
    Job,
    ResourceQuota,
    ImagePolicy,
)
_UNPLACED: tuple[type[Resource], ...] = (ClusterImagePolicy, Cluster)
"""Kinds that lie in no namespace."""
_MOST_ASKED = 20
"""Workloads whose Pods are asked for, each by a request: people read no more at once."""


async def read_snapshot(client: ApiClient, namespace: str = "") -> Snapshot:
    """Return the objects of every namespace: images cross namespaces.

    A token without access to all gets those of `namespace`, if that is given.
    """
    try:
        return Snapshot(await _with_reasons(client, _named(await _read(client, Selector()))))
    except ExceptionGroup as group:
        if not namespace or group.subgroup(StoreForbiddenError) is None:
            raise
    # First: what is refused there too may be so to the server, by the cluster that it asks.
    found = await _read(client, Selector(namespace))
    echo(f"showing namespace {namespace} only: your token cannot read other namespaces", err=True)
    return Snapshot(await _with_reasons(client, _named(found)), namespace)


def _named(objects: list[Resource]) -> list[Resource]:
    """Let all names of the server's registry be one, in this process, as the server does."""
    streams = [one.status for one in objects if isinstance(one, ImageStream)]
    own = {one.docker_image_repository for one in streams if one.docker_image_repository}
    public = {one.public_docker_image_repository or "" for one in streams} - {""}
    if own:
        aliases = [repository.partition("/")[0] for repository in sorted(public)]
        serve_as(OwnRegistry.seen_as(min(own).rsplit("/", 2)[0], aliases))
    return objects


async def _read(client: ApiClient, where: Selector) -> list[Resource]:
    async with asyncio.TaskGroup() as tasks:
        unplaced = [tasks.create_task(_readable(client, kind)) for kind in _UNPLACED]
        lists = [tasks.create_task(client.list(kind, where)) for kind in _KINDS]
    return [
        *(item for task in unplaced for item in task.result()),
        *(item for task in lists for item in task.result().items),
    ]


async def _with_reasons(client: ApiClient, objects: list[Resource]) -> list[Resource]:
    """Let stuck Deployments of a cluster say what their Pods wait for; the first of many alone."""
    stuck = [one for one in objects if isinstance(one, Deployment) and _is_stuck(one)]
    chosen = stuck[:_MOST_ASKED]
    async with asyncio.TaskGroup() as tasks:
        asked = {one.key: tasks.create_task(_trouble(client, one)) for one in chosen}
    told = {one.key: as_rolled_out(one, asked[one.key].result()) for one in chosen}
    return [told.get(one.key, one) for one in objects]


def _is_stuck(workload: Deployment) -> bool:
    return is_native(workload) and is_stuck(workload) and not is_rolled_out(workload)


async def _trouble(client: ApiClient, workload: Deployment) -> str:
    """Return what the first Pod of its newest template says that is not ready; empty: none does."""
    place = (type(workload), workload.namespace, workload.name, "instances")
    try:
        answer = await client.call("GET", *place)
    except StoreError:
        return ""  # not to this token, or not by this API server: then it is known as stuck alone
    items = answer.get("items")
    pods = [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []
    images = images_of_template(workload.spec.template).items()
    waiting = (one for one in pods if not one.get("ready") and images <= _images_of(one).items())
    return next((str(one["message"]) for one in waiting if one.get("message")), "")


def _images_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    images = pod.get("images")
    return images if isinstance(images, dict) else {}


async def _readable(client: ApiClient, kind: type[Resource]) -> Sequence[Resource]:
    """Return the objects of a kind without a namespace; none to a token that may not read them."""
    try:
        return (await client.list(kind)).items
    except StoreForbiddenError:
        return ()
