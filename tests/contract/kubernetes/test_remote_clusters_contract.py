"""Contract of the port to other clusters: what they answer, deny, hold and run."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
from tests.support.cluster.memory_remote import MemoryRemoteCluster, MemoryRemoteClusters
from tests.support.cluster.workloads import NAMESPACE, image, manifest, workload
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.outbound.dialers import loopback_dialer
from tests.support.outbound.silent_server import silent_server
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment, Job, StatefulSet
from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterUnavailableError,
    NoClusterAccessError,
    WorkloadChangedError,
)
from upwell.cluster.interface import ImageWrite, OwnedPod, RemoteCluster, RemoteClusters
from upwell.cluster.kubernetes_remote import (
    REQUEST_SECONDS,
    KubernetesRemoteCluster,
    KubernetesRemoteClusters,
)
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy
from upwell.policy.clusters.rights import needed_rights
from upwell.store.interface import NotFoundError
from upwell.store.memory import MemoryStore
from upwell.workload.instance_spec import Owner

SLOT = ("app", False)
READER = "reader"


def now() -> datetime:
    return datetime.now(UTC)


class RemoteUnderTest(Protocol):
    """Clusters of which one, `east`, is there."""

    clusters: RemoteClusters

    async def apply(self, name: str) -> Deployment: ...

    async def runs(self, job: Job) -> None:
        """Wait until a Job has a Pod."""
        ...

    async def reading_only(self) -> RemoteCluster:
        """Return it by an access that may not patch Deployments."""
        ...


class MemoryRemoteSite:
    """A cluster in memory."""

    def __init__(self) -> None:
        self.east = MemoryRemoteCluster(now)
        self.clusters: RemoteClusters = MemoryRemoteClusters({"east": self.east})

    async def apply(self, name: str) -> Deployment:
        new = workload(Deployment)
        return await self.east.store.create(new.with_metadata(name=name, labels={"app": name}))

    async def runs(self, job: Job) -> None:
        metadata = ObjectMeta(namespace=NAMESPACE, name="x", labels={"job-name": job.name})
        owner = Owner("Job", NAMESPACE, job.name)
        self.east.shown.shown = [OwnedPod(Pod(metadata=metadata), owner)]

    async def reading_only(self) -> RemoteCluster:
        self.east.denied = {("patch", "deployments")}
        return self.east


@dataclass
class KubernetesRemoteSite:
    """An API server, and the Secret of its kubeconfig in a store."""

    cluster: KitCluster
    store: MemoryStore
    clusters: RemoteClusters
    has_reader: bool = False

    async def apply(self, name: str) -> Deployment:
        document = manifest(Deployment, name)
        document["metadata"]["labels"] = {"app": name}
        async with self.cluster.client() as client:
            with suppress(NotFoundError):
                await client.delete(Deployment, NAMESPACE, name)
            return await client.create(decode_as(Deployment, document))

    async def runs(self, job: Job) -> None:
        connected = await self.clusters.connect(east())

        async def pods() -> Sequence[OwnedPod]:
            return await connected.instances.pods(NAMESPACE, {"job-name": job.name})

        await eventually(pods, bool)

    async def reading_only(self) -> RemoteCluster:
        account = json.dumps(read_only_account())
        self.cluster.kubectl("apply", "-f", "-", given=account)
        self.has_reader = True
        token = self.cluster.kubectl("-n", NAMESPACE, "create", "token", READER).strip()
        admin = kubeconfig_secret(self.cluster, READER).decoded()["value"].decode()
        config = (
            f"{admin[: admin.index('users:')]}users:\n- name: admin\n  user: {{token: {token}}}\n"
        )
        data = Secret.encode_values({"value": config.encode()})
        await self.store.create(
            Secret(metadata=ObjectMeta(namespace="ops", name=READER), data=data)
        )
        return await self.clusters.connect(east(READER))


def read_only_account() -> dict[str, Any]:
    """Return an account that may read what is in its namespace."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": READER, "namespace": NAMESPACE}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    bound = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    return {"apiVersion": "v1", "kind": "List", "items": [account, bound]}


def east(name: str = "east") -> Cluster:
    access = {"secretRef": {"namespace": "ops", "name": name}}
    return decode_as(Cluster, {"metadata": {"name": name}, "spec": {"kubeConfig": access}})


def kubeconfig_secret(cluster: KitCluster, name: str = "east") -> Secret:
    """Return the administrator's kubeconfig, all of it inline, as a Secret."""
    config = cluster.kubectl("config", "view", "--flatten", "--minify")
    data = Secret.encode_values({"value": config.encode()})
    return Secret(metadata=ObjectMeta(namespace="ops", name=name), data=data)


@pytest.fixture(params=["memory", "kubernetes"])
async def remote(request: pytest.FixtureRequest) -> AsyncIterator[RemoteUnderTest]:
    if request.param == "memory":
        yield MemoryRemoteSite()
        return
    cluster: KitCluster = request.getfixturevalue("cluster")
    store = MemoryStore(now)
    await store.create(kubeconfig_secret(cluster))
    async with cluster.client() as client:
        await given_namespace(client, NAMESPACE)
    clusters = KubernetesRemoteClusters(store, loopback_dialer().connect, now)
    site = KubernetesRemoteSite(cluster, store, clusters)
    yield site
    await clusters.close()
    async with cluster.client() as client:
        await leave_empty(client, NAMESPACE)
    if site.has_reader:
        cluster.kubectl("-n", NAMESPACE, "delete", "serviceaccount/reader", "rolebinding/reader")


async def test_a_cluster_says_its_version_and_what_it_allows(remote: RemoteUnderTest) -> None:
    connected = await remote.clusters.connect(east())

    report = await connected.report(needed_rights((NAMESPACE,)))

    assert report.version.startswith("v1.")
    assert report.denied == ()


async def test_what_is_there_is_found_by_name_and_by_labels(remote: RemoteUnderTest) -> None:
    made = await remote.apply("remote-web")
    connected = await remote.clusters.connect(east())

    found = await connected.find(Deployment, NAMESPACE, "remote-web")
    selected = await connected.select(Deployment, NAMESPACE, {"app": "remote-web"})

    assert found is not None
    assert found.uid == made.uid
    assert [one.uid for one in selected] == [made.uid]
    assert await connected.find(Deployment, NAMESPACE, "none") is None
    assert await connected.select(StatefulSet, NAMESPACE, {"app": "remote-web"}) == []
    assert await connected.pods("no-such-namespace") == []


async def test_images_are_set_there(remote: RemoteUnderTest) -> None:
    await remote.apply("remote-set")
    connected: RemoteCluster = await remote.clusters.connect(east())

    async def is_written() -> bool:
        """Write to what was just read, which the cluster's controllers may change meanwhile."""
        read = await connected.find(Deployment, NAMESPACE, "remote-set")
        assert read is not None
        write = ImageWrite(read, {SLOT: image("2")}, {"upwell.dev/x": "y"}, take_over=True)
        with suppress(WorkloadChangedError):
            await connected.workloads.set_images(write)
            return True
        return False

    await eventually(is_written, bool)
    found = await connected.find(Deployment, NAMESPACE, "remote-set")
    assert found is not None
    assert found.spec.template.spec.containers[0].image == image("2")


async def test_a_denial_is_kept_until_rights_are_asked_for(remote: RemoteUnderTest) -> None:
    await remote.apply("remote-denied")
    connected = await remote.reading_only()
    read = await connected.find(Deployment, NAMESPACE, "remote-denied")
    assert read is not None
    seen = [connected.has_denied]

    with pytest.raises(AccessDeniedError, match="grant patch"):
        await connected.workloads.set_images(ImageWrite(read, {SLOT: image("2")}, {}))
    await connected.report(())
    seen.append(connected.has_denied)

    report = await connected.report(needed_rights((NAMESPACE,)))
    assert ("patch", "deployments") in {(one.verb, one.resource) for one in report.denied}
    assert [*seen, connected.has_denied] == [False, True, False]


def job_of_a_test() -> Job:
    pod = {"containers": [{"name": "test", "image": image("1")}], "restartPolicy": "Never"}
    return decode_as(
        Job,
        {
            "metadata": {"name": "remote-test", "namespace": NAMESPACE, "labels": {"app": "t"}},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        },
    )


async def test_a_job_is_started_once_and_removed_with_its_pods(remote: RemoteUnderTest) -> None:
    connected = await remote.clusters.connect(east())
    await connected.create(job_of_a_test())
    await connected.create(job_of_a_test())

    [made] = await connected.select(Job, NAMESPACE, {"app": "t"})
    assert made.name == "remote-test"
    await remote.runs(made)
    [one] = await connected.instances.pods(NAMESPACE, {"job-name": "remote-test"})
    assert one.owner == Owner("Job", NAMESPACE, "remote-test")

    await connected.delete(Job, NAMESPACE, "remote-test")
    await connected.delete(Job, NAMESPACE, "remote-test")
    assert await connected.find(Job, NAMESPACE, "remote-test") is None


async def test_a_cluster_without_access_is_none(remote: RemoteUnderTest) -> None:
    with pytest.raises(NoClusterAccessError):
        await remote.clusters.connect(east("west"))
    own = decode_as(Cluster, {"metadata": {"name": "here"}, "spec": {"local": True}})
    with pytest.raises(NoClusterAccessError):
        await remote.clusters.connect(own)


async def test_to_forget_a_cluster_ends_nothing_else(remote: RemoteUnderTest) -> None:
    await remote.clusters.forget("none")
    await remote.clusters.connect(east())
    await remote.clusters.forget("east")

    report = await (await remote.clusters.connect(east())).report(())
    assert report.version


@asynccontextmanager
async def reached(
    store: MemoryStore, dialer: Dialer, seconds: float = REQUEST_SECONDS
) -> AsyncIterator[KubernetesRemoteClusters]:
    clusters = KubernetesRemoteClusters(store, dialer.connect, now, seconds=seconds)
    try:
        yield clusters
    finally:
        await clusters.close()


async def test_a_changed_secret_is_another_access(cluster: KitCluster) -> None:
    store = MemoryStore(now)
    secret = await store.create(kubeconfig_secret(cluster))
    async with reached(store, loopback_dialer()) as clusters:
        first = await clusters.connect(east())
        assert await clusters.connect(east()) is first

        text = secret.decoded()["value"].decode()
        users = text.index("users:")
        broken = f"{text[:users]}users:\n- name: admin\n  user: {{token: none}}\n"
        data = Secret.encode_values({"value": broken.encode()})
        await store.update(secret.model_copy(update={"data": data}))

        second = await clusters.connect(east())
        assert second is not first
        with pytest.raises(AccessDeniedError, match="does not take the token"):
            await second.report(())


async def test_an_address_that_the_policy_forbids_is_not_asked(cluster: KitCluster) -> None:
    store = MemoryStore(now)
    await store.create(kubeconfig_secret(cluster))
    async with reached(store, Dialer(OutboundPolicy.of(()))) as clusters:
        with pytest.raises(ClusterUnavailableError, match=r"127\.0\.0\.1 is a loopback address"):
            await (await clusters.connect(east())).report(())


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    store = MemoryStore(now)
    async with silent_server() as silence:
        config = f"""
current-context: c
contexts: [{{name: c, context: {{cluster: c}}}}]
clusters: [{{name: c, cluster: {{server: "https://{silence.address}"}}}}]
"""
        data = Secret.encode_values({"value": config.encode()})
        metadata = ObjectMeta(namespace="ops", name="east")
        await store.create(Secret(metadata=metadata, data=data))
        async with reached(store, loopback_dialer(), seconds=0.2) as clusters:
            connected = await clusters.connect(east())
            assert isinstance(connected, KubernetesRemoteCluster)
            with pytest.raises(ClusterUnavailableError, match="did not answer"):
                await connected.pods(NAMESPACE)
