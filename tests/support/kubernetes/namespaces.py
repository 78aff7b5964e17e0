"""Namespaces of a cluster that tests share: made when they are needed, and left empty."""

from collections.abc import Sequence
from contextlib import suppress

from tests.support.workload.waiting import eventually

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.coordination.leases import Lease
from upwell.api.core import Event, Namespace, Secret, Service
from upwell.api.image import Image, ImageStream
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod
from upwell.api.promotion import Promotion, Release
from upwell.api.revisions import ReplicationController
from upwell.api.route import Route
from upwell.api.waves.wave import Wave
from upwell.store.interface import AlreadyExistsError, NotFoundError, Selector
from upwell.store.kubernetes import KubernetesStore

_KINDS: tuple[type[Resource], ...] = (
    *(Pipeline, Promotion, Release, ImageStream, DeploymentConfig, ReplicationController),
    *(Deployment, StatefulSet, DaemonSet, Job, Route, Ingress, Service, Event, Lease),
)
"""Kinds of what tests make in a namespace that they have in common."""
_OF_NO_NAMESPACE: tuple[type[Resource], ...] = (Image, Wave)
_OF_ACCOUNTS = "kubernetes.io/service-account-token"


async def given_namespace(store: KubernetesStore, name: str) -> None:
    """Create a namespace unless it is there; wait until one that is being deleted is gone."""

    async def is_there() -> bool:
        with suppress(AlreadyExistsError):
            await store.create(Namespace(metadata=ObjectMeta(name=name)))
            return True
        with suppress(NotFoundError):
            return not (await store.get(Namespace, "", name)).is_deleting
        return False

    await eventually(is_there, bool)


async def leave_empty(store: KubernetesStore, namespace: str) -> None:
    """Delete what tests and their servers have made in a namespace, and wait until no Pod is there.

    The next test would take a Pod for its own, or an Event; its server would wait for a Lease.
    Images and Waves have no namespace: all of them go.
    """
    selector = Selector(namespace)
    for kind in _KINDS:
        for one in (await store.list(kind, selector)).items:
            with suppress(NotFoundError):
                await store.delete(kind, namespace, one.name)
    for secret in (await store.list(Secret, selector)).items:
        if secret.type != _OF_ACCOUNTS:
            await store.delete(Secret, namespace, secret.name)
    for kind in _OF_NO_NAMESPACE:
        for one in (await store.list(kind)).items:
            await store.delete(kind, "", one.name)

    async def pods() -> Sequence[str]:
        return [one.name for one in (await store.list(Pod, selector)).items]

    await eventually(pods, lambda found: not found)
