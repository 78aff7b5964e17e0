"""Contract of the port to a cluster: writes to workloads, Events, and Pods as they change."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from tests.support.cluster.memory_cluster import (
    MemoryClusterPods,
    MemoryInstances,
    MemoryWorkloads,
)
from tests.support.cluster.workloads import (
    NAMESPACE,
    PLACEHOLDER,
    Native,
    image,
    manifest,
    pod,
    workload,
)
from tests.support.kubernetes.cluster import KitCluster
from tests.support.workload.waiting import eventually

from upwell.api.apps import CronJob, DaemonSet, Deployment, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.core import Namespace
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.api.pod import Pod
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    FieldOwnedError,
    ListExpiredError,
    WorkloadChangedError,
)
from upwell.cluster.interface import (
    ClusterInstances,
    ClusterPods,
    ClusterWorkloads,
    ImageWrite,
    OwnedPod,
    PodRecord,
    WorkloadEvent,
)
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.policy.cluster_rollouts.field_owners import ownership
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.store.clusters.versions import use_served_versions
from upwell.store.interface import ExpiredError, NotFoundError
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest
from upwell.store.memory import MemoryStore
from upwell.workload.instance_spec import Owner

SLOT = ("app", False)
NODE = "node-1"
"""Node that does not exist: nobody there ends a Pod that is deleted."""
KINDS: tuple[type[Native], ...] = (Deployment, StatefulSet, DaemonSet, CronJob)


def now() -> datetime:
    return datetime.now(UTC)


class ClusterUnderTest(Protocol):
    """A cluster, and what others do there."""

    namespace: str
    workloads: ClusterWorkloads
    pods: ClusterPods
    instances: ClusterInstances

    async def apply[R: Native](self, kind: type[R]) -> R: ...

    async def read[R: Native](self, stored: R) -> R: ...

    async def delete(self, stored: Native) -> None: ...

    async def events(self) -> Sequence[str]: ...

    async def put_pod(self, name: str, version: str, node: str = NODE) -> None: ...

    async def remove_pod(self, name: str) -> None: ...

    async def warn(self, stored: Native, message: str) -> None: ...


class MemorySite:
    """A cluster in memory."""

    def __init__(self) -> None:
        self._store = MemoryStore(now)
        self._pods = MemoryClusterPods()
        self._memory = MemoryWorkloads(self._store, pods=self._pods)
        self._instances = MemoryInstances()
        self.namespace = NAMESPACE
        self.instances: ClusterInstances = self._instances
        self.workloads: ClusterWorkloads = self._memory
        self.pods: ClusterPods = self._pods

    async def apply[R: Native](self, kind: type[R]) -> R:
        return await self._store.create(workload(kind))

    async def read[R: Native](self, stored: R) -> R:
        return await self._store.get(type(stored), stored.namespace, stored.name)

    async def delete(self, stored: Native) -> None:
        await self._store.delete(type(stored), stored.namespace, stored.name)

    async def events(self) -> Sequence[str]:
        return [one.message for one in self._memory.told]

    async def put_pod(self, name: str, version: str, node: str = NODE) -> None:
        await self._pods.put(_record(name, version))
        owner = Owner("Pod", NAMESPACE, name)
        self._instances.shown.append(
            OwnedPod(decode_as(Pod, _document(name, version, node)), owner)
        )

    async def remove_pod(self, name: str) -> None:
        await self._pods.put(_record(name, "good"), gone=True)

    async def warn(self, stored: Native, message: str) -> None:
        self._instances.warned.setdefault(stored.uid, []).append(message)


class KubernetesSite:
    """A namespace of an API server."""

    def __init__(self, api: ApiConnection, namespace: str) -> None:
        self._api = api
        self.namespace = namespace
        self.instances: ClusterInstances = KubernetesInstances(api)
        self.workloads: ClusterWorkloads = KubernetesWorkloads(api, now)
        self.pods: ClusterPods = KubernetesPods(api, namespace, page=2)

    async def apply[R: Native](self, kind: type[R]) -> R:
        document = manifest(kind, namespace=self.namespace)
        key = ObjectKey(kind.KIND.kind, self.namespace, "web")
        params = {"fieldManager": "kubectl-client-side-apply"}
        request = ApiRequest("POST", kind.KIND, key, params=params, body=document, collection=True)
        return decode_as(kind, (await self._api.ask(request)).document)

    async def read[R: Native](self, stored: R) -> R:
        answer = await self._api.ask(ApiRequest("GET", stored.KIND, stored.key))
        return decode_as(type(stored), answer.document)

    async def delete(self, stored: Native) -> None:
        await self._api.ask(ApiRequest("DELETE", stored.KIND, stored.key))
        while True:
            try:
                await self.read(stored)
            except NotFoundError:
                return

    async def events(self) -> Sequence[str]:
        path = f"/api/v1/namespaces/{self.namespace}/events"
        found = json.loads(await self._api.get_raw(path))["items"]
        return [one["message"] for one in found if one["source"].get("component") == "upwell"]

    async def put_pod(self, name: str, version: str, node: str = NODE) -> None:
        key = ObjectKey("Pod", self.namespace, name)
        document = _document(name, version, node)
        del document["metadata"]["namespace"]
        request = ApiRequest("POST", Pod.KIND, key, body=document, collection=True)
        async with asyncio.timeout(60):
            while True:
                try:
                    await self._api.ask(request)
                except StoreForbiddenError:  # the namespace has no ServiceAccount yet
                    await asyncio.sleep(0.1)
                else:
                    return

    async def remove_pod(self, name: str) -> None:
        key = ObjectKey("Pod", self.namespace, name)
        body = {"gracePeriodSeconds": 0}
        await self._api.ask(ApiRequest("DELETE", Pod.KIND, key, body=body))

    async def warn(self, stored: Native, message: str) -> None:
        await self.workloads.tell(WorkloadEvent(stored, "Test", message, is_warning=True))


def _document(name: str, version: str, node: str) -> dict[str, Any]:
    """Return a Pod of a scheduler that does not exist: no controller of the cluster touches it."""
    return {
        # An owner that is none would have it collected.
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "schedulerName": "none",
            "automountServiceAccountToken": False,
            "nodeName": node,
            "containers": [{"name": "app", "image": image(version)}],
        },
    }


def _record(name: str, version: str) -> PodRecord:
    return pod(workload(StatefulSet), name, image=image(version))


@dataclass
class Places:
    """Namespaces that no test has used."""

    used: int = 0


_PLACES = Places()


@pytest.fixture(params=["memory", "kubernetes"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[ClusterUnderTest]:
    if request.param == "memory":
        yield MemorySite()
        return
    cluster: KitCluster = request.getfixturevalue("cluster")
    _PLACES.used += 1
    namespace = f"rollouts-{_PLACES.used}"
    async with cluster.client() as store:
        await store.create(Namespace(metadata=ObjectMeta(name=namespace)))
        await use_served_versions(store)
        try:
            yield KubernetesSite(store.connection, namespace)
        finally:
            await store.delete(Namespace, "", namespace)


def write(read: Native, version: str, *, take_over: bool = False) -> ImageWrite:
    return ImageWrite(read, {SLOT: image(version)}, {NOTE_ANNOTATION: version}, take_over)


async def set_image(
    site: ClusterUnderTest, read: Native, version: str, *, take_over: bool = False
) -> Resource:
    """Set the image of a workload, once no controller of the cluster has changed it meanwhile."""
    return await set_settled(site, read, lambda one: write(one, version, take_over=take_over))


async def set_settled(
    site: ClusterUnderTest, read: Native, decide: Callable[[Native], ImageWrite]
) -> Resource:
    """Write what is decided of a workload as it is, once nobody has changed it meanwhile."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await site.workloads.set_images(decide(read))
            except WorkloadChangedError:
                read = await site.read(read)


def image_of(stored: Resource) -> str:
    return declared_images(stored, [SLOT])[SLOT]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_image_that_its_author_hands_over_is_set(
    site: ClusterUnderTest, kind: type[Native]
) -> None:
    read = await site.apply(kind)
    owned = ownership(read, [SLOT], set_before=False)

    written = await set_image(site, read, "good", take_over=owned.takes_over)

    stored = await site.read(read)
    assert owned.takes_over
    assert image_of(written) == image_of(stored) == image("good")
    assert stored.annotations[NOTE_ANNOTATION] == "good"
    assert not ownership(stored, [SLOT], set_before=True).takes_over
    assert not ownership(stored, [SLOT], set_before=True).taken_by


async def test_an_image_of_another_manager_is_not_set(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)

    with pytest.raises(FieldOwnedError, match="kubectl-client-side-apply"):
        await set_image(site, read, "good")

    assert image_of(await site.read(read)) == PLACEHOLDER


async def test_the_same_write_twice_changes_nothing(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)
    await set_image(site, read, "good", take_over=True)
    first = await site.read(read)

    second = await set_image(site, first, "good")

    assert second.generation == first.generation


async def test_a_decision_about_an_older_workload_is_not_written(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)
    await set_image(site, read, "good", take_over=True)

    with pytest.raises(WorkloadChangedError):
        await site.workloads.set_images(write(read, "better", take_over=True))


async def test_a_workload_that_is_gone_is_not_made_again(site: ClusterUnderTest) -> None:
    read = await site.apply(DaemonSet)
    await site.delete(read)

    with pytest.raises(WorkloadChangedError):
        await site.workloads.set_images(write(read, "good", take_over=True))
    with pytest.raises(NotFoundError):
        await site.read(read)


async def test_the_same_event_twice_is_one(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)

    await site.workloads.tell(WorkloadEvent(read, "Test", "said once"))
    await site.workloads.tell(WorkloadEvent(read, "Test", "said once"))

    assert await site.events() == ["said once"]


async def test_what_happened_at_a_time_is_one_event_for_each_time(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)
    first = datetime(2026, 5, 1, microsecond=1, tzinfo=UTC)
    for at in (first, first, first.replace(microsecond=2)):
        await site.workloads.tell(WorkloadEvent(read, "Test", "said once", at=at))

    assert await site.events() == ["said once", "said once"]


async def test_a_pod_is_deleted_while_it_has_the_image(site: ClusterUnderTest) -> None:
    stored = await site.apply(Deployment)  # its namespace is complete then
    await site.put_pod("old", "bad", node="")
    named = ObjectKey("Pod", stored.namespace, "old")

    async def names() -> set[str]:
        return {one.name for one in (await site.pods.list())[0]}

    await site.workloads.delete_pod(named, image("good"))
    assert "old" in await names()
    await site.workloads.delete_pod(named, image("bad"))
    await site.workloads.delete_pod(named, image("bad"))
    await eventually(names, lambda found: "old" not in found)


async def test_warnings_about_an_object_are_read_by_its_uid(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)
    await site.workloads.tell(WorkloadEvent(read, "Calm", "all is well"))
    await site.warn(read, "exceeded quota: few")

    assert await site.instances.warnings(site.namespace, read.uid) == ["exceeded quota: few"]
    assert await site.instances.warnings(site.namespace, "another") == []


async def test_all_pods_are_listed_and_then_told_as_they_change(site: ClusterUnderTest) -> None:
    for name in ("a", "b", "c"):
        await site.put_pod(name, "good")
    listed, position = await site.pods.list()

    await site.put_pod("d", "better")
    await site.remove_pod("a")
    seen: dict[str, bool] = {}
    async with asyncio.timeout(60), aclosing(site.pods.watch(position)) as changes:
        async for change, position in changes:
            assert position
            if change is not None:
                seen[change.pod.name] = change.gone
            if seen.items() >= {"d": False, "a": True}.items():  # the cluster ends others, too
                break

    assert sorted(one.name for one in listed) == ["a", "b", "c"]
    first = listed[0]
    assert first.node == NODE
    assert [(one.name, one.image) for one in first.containers] == [("app", image("good"))]


async def test_pods_are_read_as_a_whole_by_their_labels(site: ClusterUnderTest) -> None:
    for name in ("a", "b"):
        await site.put_pod(name, "good")

    [found] = await site.instances.pods(site.namespace, {"app": "a"})

    assert (found.pod.name, found.owner) == ("a", Owner("Pod", site.namespace, "a"))
    assert [one.image for one in found.pod.spec.containers] == [image("good")]
    assert len(await site.instances.pods(site.namespace, {})) == 2


async def test_the_log_of_what_never_ran_is_refused(site: ClusterUnderTest) -> None:
    await site.put_pod("a", "good")
    with pytest.raises(ClusterError):
        async for _ in site.instances.log(ObjectKey("Pod", site.namespace, "a"), "app"):
            pass


async def test_what_a_write_leaves_out_is_given_up(site: ClusterUnderTest) -> None:
    read = await site.apply(Deployment)
    images, both, alone = {SLOT: image("good")}, {"a": "1", "b": "2"}, {"a": "1"}
    await set_settled(site, read, lambda one: ImageWrite(one, images, both, take_over=True))

    await set_settled(site, await site.read(read), lambda one: ImageWrite(one, images, alone))

    stored = await site.read(read)
    assert stored.annotations["a"] == "1"
    assert "b" not in stored.annotations


async def test_rights_that_are_missing_are_named(cluster: KitCluster) -> None:
    read = decode_as(Deployment, manifest(Deployment, namespace="default"))
    api = ApiConnection(ServerAccess(cluster.base_url, None, cluster.ca))
    try:
        with pytest.raises(AccessDeniedError, match='cannot patch resource "deployments"'):
            await KubernetesWorkloads(api, now).set_images(write(read, "good"))
    finally:
        await api.close()


async def test_a_version_that_the_cluster_has_not_reached_is_no_position(
    cluster: KitCluster,
) -> None:
    """As after a restore of etcd: the API server would tell nothing until it is there again."""
    async with cluster.client() as store:
        reached = int((await store.list(Namespace)).resource_version)
        later = str(reached + 1_000_000)
        with pytest.raises(ExpiredError):
            await anext(store.watch(Namespace, since=later))
        with pytest.raises(ListExpiredError):
            await anext(KubernetesPods(store.connection).watch(later))
