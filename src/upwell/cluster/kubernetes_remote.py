"""Other clusters, by kubeconfigs in Secrets: one bounded client for each."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from upwell.api.clusters.cluster import Cluster, KubeconfigSecretReference
from upwell.api.core import Secret
from upwell.api.meta import ObjectKey, Resource
from upwell.api.reviews import SelfSubjectAccessReview
from upwell.cluster.errors import AccessDeniedError, ClusterUnavailableError, NoClusterAccessError
from upwell.cluster.interface import (
    AccessAttributes,
    ClusterInstances,
    ClusterReport,
    ClusterWorkloads,
    ImageWrite,
    OwnedPod,
    PodRecord,
    WorkloadEvent,
)
from upwell.cluster.kubernetes import KubernetesWorkloads, cluster_error
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.machine.tasks import together
from upwell.store.clusters.access import (
    ClusterAccess,
    ClusterAccessError,
    stored_kubeconfig_access,
)
from upwell.store.clusters.versions import use_served_versions
from upwell.store.interface import (
    AlreadyExistsError,
    NotFoundError,
    RejectedError,
    Selector,
    Store,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import Dial
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.kubernetes_http import ApiRequest, parse_object

REQUEST_SECONDS = 10.0
"""For an answer, and for all that one call of the port asks for."""
_AT_ONCE = 8
"""Calls on their way to one cluster."""
_UNAUTHORIZED = "Unauthorized"
_MAX_KUBECONFIG = 64 * 1024
"""Characters: YAML of that size is parsed in a fraction of a second."""


@dataclass(frozen=True, slots=True)
class _BoundedWorkloads:
    """Implements ClusterWorkloads within the bounds of a cluster."""

    inner: ClusterWorkloads
    bounds: "_Bounds"

    async def set_images(self, write: ImageWrite) -> Resource:
        """Apply images and annotations."""
        return await self.bounds.within(self.inner.set_images(write))

    async def delete_pod(self, pod: ObjectKey, image: str) -> None:
        """Delete a Pod if a container of it still has this image."""
        await self.bounds.within(self.inner.delete_pod(pod, image))

    async def tell(self, event: WorkloadEvent) -> None:
        """Create the Event, or note on it that it was seen again."""
        await self.bounds.within(self.inner.tell(event))


@dataclass(frozen=True, slots=True)
class _BoundedInstances:
    """Implements ClusterInstances within the bounds of a cluster; a log has its reader's."""

    inner: ClusterInstances
    bounds: "_Bounds"

    async def pods(self, namespace: str, labels: Mapping[str, str]) -> Sequence[OwnedPod]:
        """Return the Pods of a namespace that have these labels."""
        return await self.bounds.within(self.inner.pods(namespace, labels))

    async def warnings(self, namespace: str, uid: str) -> Sequence[str]:
        """Return what the cluster warns of about an object."""
        return await self.bounds.within(self.inner.warnings(namespace, uid))

    async def log(self, pod: ObjectKey, container: str) -> AsyncGenerator[bytes]:
        """Yield the log up to now."""
        async with aclosing(self.inner.log(pod, container)) as pieces:
            async for piece in pieces:
                yield piece


@dataclass(slots=True)
class _Bounds:
    """Bounds of what is asked of one cluster: calls at once, and seconds of each."""

    name: str
    seconds: float
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    has_denied: bool = False
    """True if a call was denied since rights were asked for last."""

    async def within[T](self, call: Coroutine[Any, Any, T]) -> T:
        """Make a call in its turn; raises a ClusterError."""
        try:
            async with self.turns, asyncio.timeout(self.seconds):
                return await call
        except TimeoutError as error:
            message = f"cluster {self.name} did not answer within {self.seconds:g} s"
            raise ClusterUnavailableError(message) from error
        except AccessDeniedError:
            self.has_denied = True
            raise
        except StoreError as error:
            found = cluster_error(error)
            self.has_denied |= isinstance(found, AccessDeniedError)
            raise found from error
        finally:
            call.close()  # of one that had no turn


class KubernetesRemoteCluster:
    """Implements RemoteCluster by a client of its API server."""

    def __init__(
        self, name: str, client: KubernetesStore, clock: Callable[[], datetime], seconds: float
    ) -> None:
        self._client = client
        self._bounds = _Bounds(name, seconds)
        self._knows_versions = False
        self.workloads: ClusterWorkloads = _BoundedWorkloads(
            KubernetesWorkloads(client.connection, clock), self._bounds
        )
        self.instances: ClusterInstances = _BoundedInstances(
            KubernetesInstances(client.connection), self._bounds
        )

    @property
    def has_denied(self) -> bool:
        """Return True if it has denied a call since rights were asked for last."""
        return self._bounds.has_denied

    async def report(self, wanted: Sequence[AccessAttributes]) -> ClusterReport:
        """Ask `/version`, and a SelfSubjectAccessReview for each right."""
        version = await self._bounds.within(self._version())
        if wanted:
            self._bounds.has_denied = False  # what is denied meanwhile counts anew
        allowed = await together(self._bounds.within(self._is_allowed(one)) for one in wanted)
        pairs = zip(wanted, allowed, strict=True)
        return ClusterReport(version, tuple(right for right, is_ours in pairs if not is_ours))

    async def find[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return an object."""

        async def found() -> R | None:
            await self._use_versions()
            try:
                return await self._client.get(kind, namespace, name)
            except NotFoundError:
                return None

        return await self._bounds.within(found())

    async def select[R: Resource](
        self, kind: type[R], namespace: str, labels: Mapping[str, str]
    ) -> Sequence[R]:
        """Return the objects of a namespace that have these labels."""

        async def found() -> Sequence[R]:
            await self._use_versions()
            return (await self._client.list(kind, Selector(namespace, dict(labels)))).items

        return await self._bounds.within(found())

    async def pods(self, namespace: str) -> Sequence[PodRecord]:
        """Return the Pods of a namespace, page by page."""
        pods = KubernetesPods(self._client.connection, namespace)
        found, _ = await self._bounds.within(pods.list())
        return found

    async def create(self, resource: Resource) -> None:
        """Create an object."""

        async def created() -> None:
            with suppress(AlreadyExistsError):
                await self._client.create(resource)

        await self._bounds.within(created())

    async def delete(self, kind: type[Resource], namespace: str, name: str) -> None:
        """Delete an object, and have the cluster collect what belongs to it."""

        async def deleted() -> None:
            with suppress(NotFoundError):
                await self._client.delete(kind, namespace, name)

        await self._bounds.within(deleted())

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _version(self) -> str:
        try:
            answer = await self._client.get_raw("/version")
        except RejectedError as error:
            if _UNAUTHORIZED not in str(error):
                raise UnavailableError(str(error)) from error
            message = f"the cluster does not take the token or certificate: {error}"
            raise StoreForbiddenError(message) from error
        return str(parse_object(answer, "/version").get("gitVersion") or "")

    async def _is_allowed(self, right: AccessAttributes) -> bool:
        kind = SelfSubjectAccessReview.KIND
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "namespace": right.namespace,
        }
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "spec": {"resourceAttributes": attributes},
        }
        key = ObjectKey(kind.kind, "", right.resource)
        request = ApiRequest("POST", kind, key, body=body, collection=True)
        status = (await self._client.connection.ask(request)).document.get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    async def _use_versions(self) -> None:
        if not self._knows_versions:
            await use_served_versions(self._client)
            self._knows_versions = True


@dataclass(frozen=True, slots=True)
class _Opened:
    """A client, and the state of the Secret that it was made of."""

    secret: tuple[str, str, KubeconfigSecretReference]
    cluster: KubernetesRemoteCluster


class KubernetesRemoteClusters:
    """Implements RemoteClusters; Secrets are read in `store` whenever a cluster is asked for.

    `dial` connects by the policy of addresses that objects may name; `before_write` is that of
    ApiConnection.
    """

    def __init__(
        self,
        store: Store,
        dial: Dial,
        clock: Callable[[], datetime],
        *,
        before_write: Callable[[], None] | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._store = store
        self._dial = dial
        self._clock = clock
        self._before_write = before_write
        self._seconds = seconds
        self._opened: dict[str, _Opened] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, cluster: Cluster) -> KubernetesRemoteCluster:
        """Return the client of a cluster; a new one where its Secret has changed."""
        if cluster.spec.kube_config is None:
            raise NoClusterAccessError(f"{cluster.key} names no kubeconfig")
        async with self._making[cluster.name]:  # one client for all who ask at once
            return await self._client(cluster, cluster.spec.kube_config.secret_ref)

    async def _client(
        self, cluster: Cluster, reference: KubeconfigSecretReference
    ) -> KubernetesRemoteCluster:
        secret = await self._secret(reference)
        stamp = (secret.uid, secret.resource_version, reference)
        kept = self._opened.get(cluster.name)
        if kept is not None and kept.secret == stamp:
            return kept.cluster
        access = await _access(secret, reference.key)
        await self.forget(cluster.name)
        server = replace(access.server, timeout=self._seconds, dial=self._dial)
        client = KubernetesStore(server, before_write=self._before_write)
        made = KubernetesRemoteCluster(cluster.name, client, self._clock, self._seconds)
        self._opened[cluster.name] = _Opened(stamp, made)
        return made

    async def forget(self, name: str) -> None:
        """Close the client of a cluster."""
        kept = self._opened.pop(name, None)
        if kept is not None:
            await kept.cluster.close()

    async def close(self) -> None:
        """Close all clients."""
        for name in tuple(self._opened):
            await self.forget(name)

    async def _secret(self, reference: KubeconfigSecretReference) -> Secret:
        try:
            return await self._store.get(Secret, reference.namespace, reference.name)
        except NotFoundError as error:
            place = f"{reference.namespace}/{reference.name}"
            raise NoClusterAccessError(f"there is no Secret {place} with a kubeconfig") from error
        except StoreError as error:
            raise cluster_error(error) from error


async def _access(secret: Secret, key: str) -> ClusterAccess:
    """Return the access that a Secret holds; raises NoClusterAccessError."""
    place = f"key {key} of Secret {secret.namespace}/{secret.name}"
    try:
        text = secret.decoded()[key].decode()
    except KeyError as error:
        raise NoClusterAccessError(f"{place} is not there") from error
    except ValueError as error:
        raise NoClusterAccessError(f"{place} is no text") from error
    if len(text) > _MAX_KUBECONFIG:
        raise NoClusterAccessError(f"{place} has more than {_MAX_KUBECONFIG} characters")
    try:
        return await asyncio.to_thread(stored_kubeconfig_access, text, place)
    except ClusterAccessError as error:
        raise NoClusterAccessError(str(error)) from error
