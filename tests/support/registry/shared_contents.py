"""Contents that replicas share, in a real registry: as `upwell serve` opens it on a cluster."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from tests.support.registry.docker_registry import docker_registry
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.app.registries.replica_audit import RegistryAudit
from upwell.app.registries.replica_logs import RegistryLogs
from upwell.app.registries.replica_uploads import RegistryContents
from upwell.oci.replica_contents import ReplicaContent
from upwell.outbound.dialing import unrestricted
from upwell.registry.attachments.targets import ArtifactTarget, HostedArtifacts, RemoteArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import RegistryUnavailableError
from upwell.registry.external.registry import ExternalRegistry
from upwell.registry.interface import InternalRegistry
from upwell.registry.replica_contents import ReplicaArtifacts

NAMESPACES = ("", "a", "b", "c", "limited", "other")


@asynccontextmanager
async def shared_registry(
    folder: Path, place: str
) -> AsyncIterator[tuple[InternalRegistry, ArtifactTarget]]:
    """Open a registry, Debian's or in a bucket, and what writes artifacts to it."""
    folder = folder / "shared-registry"
    folder.mkdir()
    if place == "bucket":
        async with strict_s3() as s3, bucket_at(s3.url, folder) as bucket:
            shared = BucketRegistry(bucket, "registry.internal:5000")
            yield shared, HostedArtifacts(shared)
        return
    async with docker_registry(folder, deletes=True) as host, elsewhere(host) as opened:
        yield opened


@asynccontextmanager
async def elsewhere(host: str) -> AsyncIterator[tuple[InternalRegistry, ArtifactTarget]]:
    """Open the registry at `host` as one elsewhere, below a prefix."""
    async with RegistryClient(unrestricted()) as client:
        pusher = RegistryPusher(client.connection)
        external = ExternalRegistry(client, pusher, f"{host}/ours/images")
        yield external, RemoteArtifacts(client, pusher)


@asynccontextmanager
async def shared_contents(
    folder: Path, place: str, leads: Callable[[], bool] = lambda: True
) -> AsyncIterator[RegistryContents]:
    """Open the uploads of NAMESPACES that replicas share."""

    async def namespaces() -> Collection[str]:
        return NAMESPACES

    async with shared_registry(folder, place) as (internal, target):
        artifacts = ReplicaArtifacts(internal, target, ReplicaContent.UPLOADS)
        yield RegistryContents(artifacts, leads, namespaces)


@asynccontextmanager
async def shared_logs(
    folder: Path, place: str, leads: Callable[[], bool] = lambda: True
) -> AsyncIterator[RegistryLogs]:
    """Open the logs of builds in NAMESPACES that replicas share."""

    async def namespaces() -> Collection[str]:
        return NAMESPACES

    async with shared_registry(folder, place) as (internal, target):
        artifacts = ReplicaArtifacts(internal, target, ReplicaContent.LOGS)
        yield RegistryLogs(artifacts, leads, namespaces)


@asynccontextmanager
async def shared_audit(
    folder: Path,
    place: str,
    clock: Callable[[], datetime],
    leads: Callable[[], bool] = lambda: True,
) -> AsyncIterator[RegistryAudit]:
    """Open the audit logs that replicas share."""
    async with shared_registry(folder, place) as (internal, target):
        yield RegistryAudit(ReplicaArtifacts(internal, target, ReplicaContent.AUDIT), leads, clock)


type ListTags = Callable[[ReplicaArtifacts, str], Awaitable[Sequence[str]]]


def unlisted(tags: ListTags, namespace: str) -> ListTags:
    """Return `tags` of a registry that answers 500 where it is asked for those of a namespace."""

    async def listed(artifacts: ReplicaArtifacts, asked: str) -> Sequence[str]:
        if asked == namespace:
            raise RegistryUnavailableError(artifacts.place(asked), "500")
        return await tags(artifacts, asked)

    return listed
