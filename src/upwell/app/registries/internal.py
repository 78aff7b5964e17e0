"""Opens the registry that builds push to: the embedded one, or one elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

from upwell.app.registries.bucket import OwnedBucket
from upwell.machine.clock import seconds
from upwell.machine.disk import DiskSpace
from upwell.reconcilers.images.origins import StreamOrigins
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.external.registry import ExternalRegistry
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import FindQuota
from upwell.registry.interface import InternalRegistry, Registry
from upwell.registry.pull_through import PullThroughRegistry
from upwell.registry.routed import RoutedRegistry
from upwell.settings import ServerSettings
from upwell.store.fence import require_fence


@dataclass(frozen=True, slots=True)
class OpenedRegistries:
    """The registry that builds push to, and one for all references."""

    internal: InternalRegistry
    embedded: PullThroughRegistry | None
    """The same, where it is this server's; None: it is elsewhere, and no image is kept here."""
    bucket: BucketRegistry | None
    """Storage of the embedded one, where that is a bucket that replicas share."""
    all: Registry


async def open_registries(
    settings: ServerSettings,
    client: RegistryClient,
    remote: Registry,
    origins: StreamOrigins,
    disk: DiskSpace,
    quota: FindQuota,
    open_storage: Callable[[], OwnedBucket],
) -> OpenedRegistries:
    """Open the registry that the settings name; `client` reaches all others, and so does `remote`.

    `open_storage` is asked for the bucket where the settings name one.
    Raises StorageError.
    """
    if not settings.has_embedded_registry:
        pusher = RegistryPusher(client.connection)
        # A leader that was deposed sets no tag: another one has set it since.
        external = ExternalRegistry(remote, pusher, settings.image_prefix, require_fence)
        return OpenedRegistries(external, None, None, remote)
    host = settings.internal_host
    limits = StorageLimits(sparse_indexes=settings.embedded_registry.sparse_indexes)
    bucket: BucketRegistry | None = None
    if settings.has_shared_registry:
        owned = open_storage()
        bucket = BucketRegistry(
            owned.bucket,
            host,
            limits=limits,
            clock=seconds,
            quota=quota,
            fence=require_fence,
            owner=owned.owner,
        )
    storage = bucket or EmbeddedRegistry(
        settings.data_dir / "registry",
        host,
        clock=seconds,
        pressure=disk.pressure,
        quota=quota,
        limits=limits,
    )
    embedded = PullThroughRegistry(storage, remote, origins)
    await embedded.recover()
    return OpenedRegistries(embedded, embedded, bucket, RoutedRegistry(embedded, remote))
