"""The ports of a cluster: its workloads, what its Pods run, and who may do what there."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import Kind, ObjectKey, Resource
from upwell.api.pod import Pod
from upwell.workload.instance_spec import Owner

FIELD_MANAGER = "upwell"
"""Name under which fields are owned (Kubernetes, "Server-Side Apply")."""


@dataclass(frozen=True, slots=True)
class ImageWrite:
    """Fields that Upwell owns of a workload, as they shall be: what is left out is given up."""

    workload: Resource
    """The object that the decision was made about; its resourceVersion guards the write."""
    images: Mapping[tuple[str, bool], str]
    """Pull specs by the container's name, and whether it is an init container."""
    annotations: Mapping[str, str]
    take_over: bool = False
    """Fields of other managers become ours; without it, such a field is refused."""


@dataclass(frozen=True, slots=True)
class WorkloadEvent:
    """Event that people see at a workload (core/v1 Event)."""

    workload: Resource
    reason: str
    message: str
    is_warning: bool = False
    at: datetime | None = None
    """Time of what happened once; None: it is so now, and may be seen again."""


class ClusterWorkloads(Protocol):
    """Writes to workloads. Every method raises a ClusterError."""

    async def set_images(self, write: ImageWrite) -> Resource:
        """Set images and annotations by one request; return the workload as the cluster has it.

        The same write twice changes nothing. Raises WorkloadChangedError for a workload that is
        no longer the one that was read, FieldOwnedError, AccessDeniedError, WriteRefusedError.
        """
        ...

    async def delete_pod(self, pod: ObjectKey, image: str) -> None:
        """Delete a Pod if a container of it still has this image; nothing happens to another.

        Raises AccessDeniedError, WriteRefusedError.
        """
        ...

    async def tell(self, event: WorkloadEvent) -> None:
        """Show an Event at a workload. The same twice is one Event, by its time if it has one."""
        ...


@dataclass(frozen=True, slots=True)
class PodContainer:
    """A container of a Pod, as its node reports it."""

    name: str
    image: str
    """As the Pod names it."""
    digest: str = ""
    """`sha256:…` that runs; empty while nothing does."""
    waits: str = ""
    """Reason why it does not run: `ImagePullBackOff`, `CrashLoopBackOff`, …"""
    message: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class PodRecord:
    """Part of a Pod that matters here: some hundred bytes, whatever the Pod has."""

    namespace: str
    name: str
    owner_kind: str
    """Kind of the workload that it belongs to; that of its owner where it is of none."""
    owner: str
    node: str
    ready: bool
    containers: tuple[PodContainer, ...]
    """Init and ephemeral containers too."""


@dataclass(frozen=True, slots=True)
class PodChange:
    """A Pod after a change of it; before it, if it is gone."""

    pod: PodRecord
    gone: bool = False


class ClusterPods(Protocol):
    """Reads Pods. Every method raises a ClusterError."""

    async def list(self) -> tuple[Sequence[PodRecord], str]:
        """Return all Pods as of one moment, and the position from which a watch goes on."""
        ...

    def watch(self, since: str) -> AsyncGenerator[tuple[PodChange | None, str]]:
        """Yield the changes after `since`, each with the position behind it, until the end.

        A position without a change (a bookmark) is given too. The cluster may end a watch at any
        time: it goes on from the last position. Raises ListExpiredError when it cannot.
        """
        ...


class ClusterDocuments(Protocol):
    """Reads objects as they are, with fields that nobody here knows."""

    def pages(self, kind: Kind) -> AsyncGenerator[Sequence[Mapping[str, Any]]]:
        """Yield the JSON of all objects of a kind as of one moment, page by page.

        Raises a ClusterError: AccessDeniedError names the verb and the resource, ListExpiredError
        is of a list that has to begin anew.
        """
        ...


@dataclass(frozen=True, slots=True)
class OwnedPod:
    """A Pod as a whole, and the workload or Job that it belongs to."""

    pod: Pod
    owner: Owner


class ClusterInstances(Protocol):
    """Reads Pods as a whole, and their logs: for the few that a check of a stage is about.

    Every method raises a ClusterError.
    """

    async def pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[OwnedPod]:
        """Return the Pods of a namespace that have these labels."""
        ...

    async def warnings(self, namespace: str, uid: str) -> Sequence[str]:
        """Return what the cluster warns of about an object, by its uid; the newest comes last.

        Events are kept for an hour by default (kube-apiserver, `--event-ttl`).
        """
        ...

    def log(self, pod: ObjectKey, container: str) -> AsyncGenerator[bytes]:
        """Yield the log that a container has written so far."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterUser:
    """User of a cluster, as its authentication names them (authentication.k8s.io/v1, UserInfo)."""

    name: str = ""
    """Empty: the groups alone are asked about."""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessAttributes:
    """Request that somebody may send or not (authorization.k8s.io/v1, ResourceAttributes)."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    """Empty: all namespaces."""
    name: str = ""
    """Empty: all names."""


class AccessReviews(Protocol):
    """Authorization of a cluster."""

    async def is_allowed(self, user: ClusterUser, wanted: AccessAttributes) -> bool:
        """Return True if the user may send the request now, or could some seconds ago.

        Raises AccessDeniedError if this server may not ask, or another ClusterError.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Answers of a cluster about itself."""

    version: str
    """Of its API server, such as `v1.30.2`."""
    denied: tuple[AccessAttributes, ...] = ()
    """Rights, of those asked for, that the access lacks."""


class RemoteCluster(Protocol):
    """A cluster beside the one whose objects this server keeps. Every method raises a ClusterError.

    Each answer is bounded in time and size, and so is the number of requests at once: a cluster
    that hangs keeps nobody else waiting.
    """

    workloads: ClusterWorkloads
    instances: ClusterInstances

    @property
    def has_denied(self) -> bool:
        """True if it has denied a call since rights were asked for last."""
        ...

    async def report(self, wanted: Sequence[AccessAttributes]) -> ClusterReport:
        """Return its version, and which of the rights it denies us."""
        ...

    async def find[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return an object; None: there is none."""
        ...

    async def select[R: Resource](
        self, kind: type[R], namespace: str, labels: Mapping[str, str]
    ) -> Sequence[R]:
        """Return the objects of a namespace that have these labels, by their names."""
        ...

    async def pods(self, namespace: str) -> Sequence[PodRecord]:
        """Return the Pods of a namespace."""
        ...

    async def create(self, resource: Resource) -> None:
        """Create an object; one of its name that is there stays as it is."""
        ...

    async def delete(self, kind: type[Resource], namespace: str, name: str) -> None:
        """Delete an object and what belongs to it; nothing happens to one that is gone."""
        ...


class RemoteClusters(Protocol):
    """Clusters, by the access that their objects name."""

    async def connect(self, cluster: Cluster) -> RemoteCluster:
        """Return a cluster, by its access as it is now; nothing is sent yet.

        Raises NoClusterAccessError if the access is missing or is none that may be used.
        """
        ...

    async def forget(self, name: str) -> None:
        """Close what is open to a cluster whose object is gone; again does nothing."""
        ...
