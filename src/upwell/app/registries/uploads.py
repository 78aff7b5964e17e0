"""Opens uploads for builds, evidence of checks and logs: here, or where replicas share them."""

from collections.abc import Collection
from dataclasses import dataclass

from upwell.api.core import Namespace
from upwell.app.kubernetes.cluster import OpenedCluster
from upwell.app.quotas.storage import upload_quotas
from upwell.app.registries.internal import OpenedRegistries
from upwell.app.registries.replica_files import ListNamespaces
from upwell.app.registries.replica_logs import RegistryLogs
from upwell.app.registries.replica_uploads import RegistryContents
from upwell.builder.logs.files import FileBuildLogs
from upwell.builder.logs.kept import SharedBuildLogs
from upwell.machine.clock import seconds
from upwell.machine.disk import DiskSpace
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import ArtifactTarget, HostedArtifacts, RemoteArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.interface import InternalRegistry
from upwell.registry.replica_contents import ReplicaArtifacts
from upwell.settings import ServerSettings
from upwell.store.fence import require_fence
from upwell.store.interface import Store
from upwell.uploads.files import FileInputs
from upwell.uploads.interface import REMOVED
from upwell.uploads.shared import SharedInputs
from upwell.uploads.usage import UploadUsage

_EVIDENCE_BYTES = 128 * 1024 * 1024
"""Of one piece."""
_NO_LOG = (
    b"no log of this build is here: while it runs, the replica that leads has it; of one that has"
    b" ended, the replica that ran it, if it could not keep it yet where all find it\n"
)
_TAKEN_ELSEWHERE = (
    f"{REMOVED}, or another replica of the server took it, and each has a registry of its own"
)


@dataclass(frozen=True, slots=True)
class SharedRegistry:
    """Registry that all replicas of a cluster's server read and write, as the server itself."""

    internal: InternalRegistry
    target: ArtifactTarget
    bucket: BucketRegistry | None
    cluster: OpenedCluster
    store: Store

    @classmethod
    def of(
        cls,
        registries: OpenedRegistries,
        client: RegistryClient,
        cluster: OpenedCluster | None,
        store: Store,
    ) -> "SharedRegistry | None":
        """Return it; None: there is but one process, or each replica has a registry of its own."""
        if cluster is None:
            return None
        if registries.bucket is not None:
            target: ArtifactTarget = HostedArtifacts(registries.bucket)
            return cls(registries.bucket, target, registries.bucket, cluster, store)
        if registries.embedded is not None:
            return None
        target = RemoteArtifacts(registries.all, RegistryPusher(client.connection))
        return cls(registries.internal, target, None, cluster, store)

    def artifacts(self, kind: ReplicaContent) -> ReplicaArtifacts:
        """Return the artifacts of one kind; a deposed leader stores and removes none."""
        return ReplicaArtifacts(self.internal, self.target, kind, require_fence)

    def leads(self) -> bool:
        """Return True if this replica is the one that cleans up."""
        return self.cluster.election.is_leader

    def namespaces(self, kind: ReplicaContent) -> ListNamespaces:
        """Return what lists the namespaces that may have artifacts of a kind.

        A bucket tells those of deleted ones too; of a registry elsewhere, the ones that are there
        are asked for.
        """

        async def stored(bucket: BucketRegistry) -> Collection[str]:
            found = [kind.namespace_of(name) for name in await bucket.repositories()]
            return [name for name in found if name is not None]

        async def existing() -> Collection[str]:
            return [one.name for one in (await self.store.list(Namespace)).items]

        bucket = self.bucket
        return existing if bucket is None else lambda: stored(bucket)


@dataclass(frozen=True, slots=True)
class OpenedLogs:
    """Logs of builds, and where replicas share those of ended ones; None: they are here alone."""

    logs: FileBuildLogs
    kept: RegistryLogs | None


def open_logs(settings: ServerSettings, shared: SharedRegistry | None, absent: bytes) -> OpenedLogs:
    """Open the folder; `absent` is read in place of a log that is nowhere."""
    folder = settings.data_dir / "logs" / "builds"
    if shared is None:
        return OpenedLogs(FileBuildLogs(folder, absent=absent), None)
    kind = ReplicaContent.LOGS
    kept = RegistryLogs(shared.artifacts(kind), shared.leads, shared.namespaces(kind))
    return OpenedLogs(SharedBuildLogs(folder, kept, absent=_NO_LOG), kept)


@dataclass(frozen=True, slots=True)
class OpenedUploads:
    """Uploads for builds, and evidence of checks; a namespace's quota is for both."""

    inputs: FileInputs
    evidence: FileInputs


async def open_uploads(
    settings: ServerSettings,
    store: Store,
    disk: DiskSpace,
    shared: SharedRegistry | None,
    *,
    has_replicas: bool,
) -> OpenedUploads:
    """Open the folders, without what a killed process was writing to them."""
    usage = UploadUsage(upload_quotas(store, settings.quota.of_namespaces))

    def opened(name: str, kind: ReplicaContent, limit_bytes: int) -> FileInputs:
        folder = settings.data_dir / name
        if shared is None:
            return FileInputs(
                folder,
                limit_bytes=limit_bytes,
                clock=seconds,
                pressure=disk.pressure,
                usage=usage,
                absent=_TAKEN_ELSEWHERE if has_replicas else REMOVED,
            )
        contents = RegistryContents(shared.artifacts(kind), shared.leads, shared.namespaces(kind))
        return SharedInputs(
            folder,
            contents,
            limit_bytes=limit_bytes,
            clock=seconds,
            pressure=disk.pressure,
            usage=usage,
        )

    found = OpenedUploads(
        opened("inputs", ReplicaContent.UPLOADS, settings.upload_limit_bytes),
        opened("evidence", ReplicaContent.EVIDENCE, _EVIDENCE_BYTES),
    )
    await found.inputs.recover()
    await found.evidence.recover()
    return found
