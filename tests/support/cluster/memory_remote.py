"""Clusters in memory, beside the one whose objects the server keeps."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.cluster.memory_cluster import (
    MemoryClusterPods,
    MemoryInstances,
    MemoryWorkloads,
)

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import ObjectKey, Resource
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    ClusterUnavailableError,
    NoClusterAccessError,
)
from upwell.cluster.interface import (
    AccessAttributes,
    ClusterInstances,
    ClusterReport,
    ClusterWorkloads,
    ImageWrite,
    PodRecord,
    WorkloadEvent,
)
from upwell.store.interface import AlreadyExistsError, NotFoundError, Selector
from upwell.store.memory import MemoryStore


class MemoryRemoteCluster:
    """Implements RemoteCluster; a test says when it is away, and what it denies."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.store = MemoryStore(clock)
        self.memory = MemoryWorkloads(self.store)
        self.running = MemoryClusterPods()
        self.workloads: ClusterWorkloads = _AwayWorkloads(self)
        self.shown = MemoryInstances()
        self.instances: ClusterInstances = self.shown
        self.denied: set[tuple[str, str]] = set()
        """Verbs and resources."""
        self.has_denied = False
        self.is_away = False
        self.asked = 0
        """Calls so far."""

    async def report(self, wanted: Sequence[AccessAttributes]) -> ClusterReport:
        self.check()
        self.has_denied = self.has_denied and not wanted
        denied = tuple(one for one in wanted if (one.verb, one.resource) in self.denied)
        return ClusterReport("v1.30.2", denied)

    async def find[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        self.check()
        try:
            return await self.store.get(kind, namespace, name)
        except NotFoundError:
            return None

    async def select[R: Resource](
        self, kind: type[R], namespace: str, labels: Mapping[str, str]
    ) -> Sequence[R]:
        self.check()
        return (await self.store.list(kind, Selector(namespace, dict(labels)))).items

    async def pods(self, namespace: str) -> Sequence[PodRecord]:
        self.check()
        found, _ = await self.running.list()
        return [one for one in found if one.namespace == namespace]

    async def create(self, resource: Resource) -> None:
        self.check()
        with suppress(AlreadyExistsError):
            await self.store.create(resource)

    async def delete(self, kind: type[Resource], namespace: str, name: str) -> None:
        self.check()
        with suppress(NotFoundError):
            await self.store.delete(kind, namespace, name)

    def require(self, verb: str, resource: str) -> None:
        """Raise AccessDeniedError if a right is denied."""
        if (verb, resource) in self.denied:
            self.has_denied = True
            raise AccessDeniedError(f"User cannot {verb} resource {resource}: grant {verb}")

    def check(self) -> None:
        """Raise ClusterUnavailableError while it is away."""
        self.asked += 1
        if self.is_away:
            raise ClusterUnavailableError("connect to 192.0.2.1:6443: No route to host")


class _AwayWorkloads:
    """The workloads of the suite, while the cluster is not away."""

    def __init__(self, cluster: MemoryRemoteCluster) -> None:
        self._cluster = cluster

    async def set_images(self, write: ImageWrite) -> Resource:
        self._cluster.require("patch", write.workload.KIND.plural)
        return await self._checked(self._cluster.memory.set_images(write))

    async def delete_pod(self, pod: ObjectKey, image: str) -> None:
        await self._checked(self._cluster.memory.delete_pod(pod, image))

    async def tell(self, event: WorkloadEvent) -> None:
        await self._checked(self._cluster.memory.tell(event))

    async def _checked[T](self, call: Coroutine[Any, Any, T]) -> T:
        try:
            self._cluster.check()
            return await call
        except ClusterError:
            call.close()
            raise


@dataclass
class MemoryRemoteClusters:
    """Implements RemoteClusters by the names of their objects."""

    known: dict[str, MemoryRemoteCluster] = field(default_factory=dict)

    async def connect(self, cluster: Cluster) -> MemoryRemoteCluster:
        if cluster.spec.kube_config is None or cluster.name not in self.known:
            raise NoClusterAccessError(f"{cluster.key} names no kubeconfig")
        return self.known[cluster.name]

    async def forget(self, name: str) -> None:
        del name
