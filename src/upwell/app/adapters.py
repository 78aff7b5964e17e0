"""The adapters that `upwell serve` runs on, opened in the order in which they may fail."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from upwell import __version__
from upwell.app.access import Protection, ServerKeys, protect
from upwell.app.builds.builders import open_builder
from upwell.app.clusters.opening import open_remote_clusters
from upwell.app.configuration import write_configuration
from upwell.app.data_folder import refuse_second_folder
from upwell.app.encryption.keys import DataFolderKeys
from upwell.app.keys.certificate import server_certificate
from upwell.app.keys.kept_secret import open_signing_key
from upwell.app.kubernetes.cluster import OpenedCluster, open_cluster, server_name
from upwell.app.machine.adapters import (
    MachineAdapters,
    MachineParts,
    instance_folders,
    open_machine,
)
from upwell.app.measurements import MachineGauges
from upwell.app.outbound import Dialers, image_registries
from upwell.app.quotas.storage import image_quotas
from upwell.app.registries.audit import SharedAudit, open_audit
from upwell.app.registries.bucket import machine_owner, open_bucket
from upwell.app.registries.internal import open_registries
from upwell.app.registries.replica_logs import RegistryLogs
from upwell.app.registries.uploads import SharedRegistry, open_logs, open_uploads
from upwell.app.signing.keyless import open_keyless
from upwell.app.signing.keys import OpenedSigningKeys, open_signing_keys
from upwell.app.subscriptions import open_outbox, shared_outbox, subscriptions
from upwell.app.tracing import tracing
from upwell.builder.interface import Builder
from upwell.builder.logs.files import FileBuildLogs
from upwell.cluster.kubernetes_remote import KubernetesRemoteClusters
from upwell.controller import ObjectCache
from upwell.controller.leader import LeaderElection
from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.git.remote import GitCommits
from upwell.gitops.git import GitRepositories
from upwell.inventory.sqlite import SqliteInventory
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.machine.disk import DiskSpace, KeptBackRoom
from upwell.machine.private_file import remove_drafts
from upwell.oci import Reference
from upwell.oci.registry_names import serve_as
from upwell.reconcilers.authority import Authority, AuthorRights, GrantedAuthors
from upwell.reconcilers.images.origins import StreamOrigins
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.notifications import Subscriptions
from upwell.reconcilers.tracing.reconciler import TraceReconciler
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.caching import CachingRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile, ChainedCredentials
from upwell.registry.hosting import ServedRegistry
from upwell.registry.hosts import RegistryHosts
from upwell.registry.interface import InternalRegistry, Registry
from upwell.server.asgi.garbage import reading_what_stays
from upwell.server.metrics.counted_registry import CountedRegistry
from upwell.server.metrics.metrics import Gauges, Metrics
from upwell.settings import ServerPlatform, ServerSettings
from upwell.signing.keyless import KeylessSigner
from upwell.store.interface import Store
from upwell.store.sqlite import SqliteStore
from upwell.uploads.files import FileInputs
from upwell.verification.network import NetworkProbes
from upwell.workload.interface import ReadableRuntime
from upwell.workload.unavailable import UnavailableRuntime

_LOG_ELSEWHERE = (
    b"no log of this build is here: each replica of the server keeps those of the builds that it"
    b" carries out, as long as its data folder lasts\n"
)
_NO_RUNTIME = "on a cluster, the cluster runs containers, and this server none itself"


@dataclass(frozen=True, slots=True)
class Adapters:
    """Adapters, opened, and the cache of the store."""

    settings: ServerSettings
    components: Components
    """State of what the server starts or stands on: whoever watches such a part reports here."""
    disk: DiskSpace
    kept_back: KeptBackRoom
    store: Store
    cache: ObjectCache
    """Cache by which every reconciler learns of changes."""
    internal: InternalRegistry
    embedded: ServedRegistry | None
    """The same where it is this server's; None: images of builds lie elsewhere."""
    bucket: BucketRegistry | None
    """Storage of the embedded one, where replicas share it; None: the data folder."""
    client: RegistryClient
    registries: Registry
    logins: ChainedCredentials
    logs: FileBuildLogs
    kept_logs: RegistryLogs | None
    """Logs of ended builds, where replicas share them."""
    builder: Builder
    runtime: ReadableRuntime
    """One that answers nothing, where a cluster runs everything."""
    machine: MachineAdapters | None
    """Runtime and router of this machine; None: a cluster runs everything."""
    cluster: OpenedCluster | None
    """The cluster that runs everything; None: this machine does."""
    remote_clusters: KubernetesRemoteClusters
    """Clients of the clusters that stages name."""
    probes: NetworkProbes
    repositories: GitRepositories
    commits: GitCommits
    inventory: SqliteInventory
    inputs: FileInputs
    evidence: FileInputs
    protection: Protection
    audit: SharedAudit | None
    """Audit logs of all replicas; None: there is but this server's, in its folder."""
    authors: AuthorRights
    encryption: DataFolderKeys
    signing_keys: OpenedSigningKeys | None
    """None: nothing is signed."""
    keyless: KeylessSigner | None
    metrics: Metrics
    gauges: Gauges
    traces: Sequence[TraceReconciler]
    subscriptions: Subscriptions

    @property
    def embedded_host(self) -> str:
        """The `host[:port]` of the embedded registry; empty: there is none."""
        return "" if self.embedded is None else self.embedded.host

    @property
    def election(self) -> LeaderElection | None:
        """Election of the replica that reconciles; None: this process is the only one."""
        return None if self.cluster is None else self.cluster.election

    @property
    def authority(self) -> Authority:
        """Judge of what authors may do when their objects act."""
        return Authority(self.authors, self.settings.image_prefix)

    def is_insecure(self, image: Reference) -> bool:
        """Return True if an image's registry may be asked over plain HTTP, or unverified TLS.

        The embedded one may, unless it has an address of its own and TLS; others as the
        administrator says, or where they are on loopback.
        """
        settings = self.settings
        is_own = settings.has_embedded_registry and image.registry == settings.internal_host
        if is_own and not settings.is_registry_verified:
            return True
        return self.client.connection.hosts.is_insecure(image)


async def open_adapters(settings: ServerSettings, stack: AsyncExitStack) -> Adapters:
    """Open all; the stack closes them."""
    data = settings.data_dir
    stack.callback(serve_as, serve_as(settings.own_registry))
    components = Components(now)
    disk = _disk(settings)
    keyring = Keyring(settings.encryption.sources, data)
    store, local, cluster = await _open_store(settings, keyring, stack)
    await asyncio.to_thread(remove_drafts, _state_folders(data))  # the folder is ours by now
    cache = ObjectCache(store)
    shared = None if cluster is None else cluster.keys
    certificate = await server_certificate(settings, now, shared)
    authority = certificate.current.authority if settings.is_registry_verified else None
    paths = await write_configuration(settings, local.instance_id if local else "", authority)
    if local is not None:
        refuse_second_folder(data, local)
    dialers = Dialers.open(settings, stack)
    judged = image_registries(settings, dialers.images)
    machine, runtime = None, UnavailableRuntime(_NO_RUNTIME, now())
    if local is not None:
        parts = MachineParts(local, paths, judged, disk, components)
        machine = await open_machine(settings, parts, stack)
    helpers = CredentialHelpers()
    key_files = SealedFiles(keyring)
    admission = str if cluster is None else cluster.admission
    signing = await open_signing_key(data, key_files, shared)
    keys = ServerKeys(key_files, signing, certificate)
    protection = await protect(settings, store, now, components, stack, keys, admission)
    authors: AuthorRights = GrantedAuthors(protection.control)
    if cluster is not None:
        authors = cluster.authors(authors)
    if machine is not None:
        machine.tokens.open(protection.control, machine.runtime)
    files = [AuthFile(path, helpers) for path in settings.auth_files]
    logins = ChainedCredentials([protection.registry, *files])
    client = await stack.enter_async_context(
        RegistryClient(dialers.registries, _registry_hosts(settings, authority), logins)
    )
    metrics = Metrics()
    remote = CachingRegistry(CountedRegistry(client, metrics))
    origins = StreamOrigins(store, PullSecrets(store, logins))
    quota = image_quotas(store, settings.quota.of_namespaces)
    has_bucket = bool(settings.embedded_registry.bucket.bucket)
    owner = await _owner(cluster, paths.instance_id) if has_bucket else ""
    registries = await open_registries(
        settings,
        client,
        remote,
        origins,
        disk,
        quota,
        lambda: open_bucket(settings.embedded_registry.bucket, dialers.storage, owner, stack),
    )
    shared_registry = SharedRegistry.of(registries, client, cluster, store)
    has_replicas = cluster is not None
    uploads = await open_uploads(settings, store, disk, shared_registry, has_replicas=has_replicas)
    logs = open_logs(settings, shared_registry, b"" if cluster is None else _LOG_ELSEWHERE)
    outbox = await open_outbox(data, keyring, stack)
    adapters = Adapters(
        settings=settings,
        components=components,
        disk=disk,
        kept_back=KeptBackRoom(settings.data_dir / "kept-back"),
        store=store,
        cache=cache,
        internal=registries.internal,
        embedded=registries.embedded,
        bucket=registries.bucket,
        client=client,
        registries=registries.all,
        logins=logins,
        logs=logs.logs,
        kept_logs=logs.kept,
        builder=open_builder(
            settings, paths, dialers, judged, None if cluster is None else cluster.client
        ),
        runtime=runtime if machine is None else machine.runtime,
        machine=machine,
        cluster=cluster,
        remote_clusters=open_remote_clusters(store, dialers.clusters, stack),
        probes=await stack.enter_async_context(NetworkProbes.open(__version__, dialers.checks)),
        repositories=GitRepositories(data / "gitops", settings.git_author, dialer=dialers.commits),
        commits=GitCommits(data / "commits", dialers.sources),
        inventory=SqliteInventory(data / "inventory.db"),
        inputs=uploads.inputs,
        evidence=uploads.evidence,
        protection=protection,
        audit=open_audit(settings, shared_registry, protection.control.audit, components, stack),
        authors=authors,
        encryption=DataFolderKeys(keyring, key_files, outbox, local),
        signing_keys=await open_signing_keys(settings, key_files, shared),
        keyless=await open_keyless(settings, stack),
        metrics=metrics,
        gauges=MachineGauges(data, client, local, disk, registries.embedded, registries.bucket),
        traces=tracing(settings.tracing, cache, now, stack),
        subscriptions=await subscriptions(
            settings,
            cache,
            outbox,
            dialers.events,
            authors,
            shared_outbox(cluster, outbox, components),
            stack,
        ),
    )
    stack.callback(adapters.inventory.close)
    stack.callback(adapters.logs.close_all)
    return adapters


async def _owner(cluster: OpenedCluster | None, instance_id: str) -> str:
    """Return what all replicas of the server, and no other server, are named."""
    if cluster is None:
        return machine_owner(instance_id)
    return await server_name(cluster.client, cluster.lease)


def _registry_hosts(settings: ServerSettings, authority: Path | None) -> RegistryHosts:
    """Return the settings of registries; `authority` is what the embedded one is trusted by."""
    own = urlsplit(f"//{settings.internal_host}").hostname
    return RegistryHosts(settings.registries, {own: authority} if own and authority else {})


async def _open_store(
    settings: ServerSettings, keyring: Keyring, stack: AsyncExitStack
) -> tuple[Store, SqliteStore | None, OpenedCluster | None]:
    """Open where objects are: on this machine, or on a cluster, whose replicas elect a leader."""
    if settings.on is ServerPlatform.KUBERNETES:
        cluster = await open_cluster(settings, stack)
        return cluster.store, None, cluster
    path = settings.data_dir / "upwell.db"
    with reading_what_stays():
        store = await SqliteStore.open(path, clock=now, keyring=keyring)
    stack.push_async_callback(store.close)
    return store, store, None


def _state_folders(data: Path) -> Sequence[Path]:
    """Return where files of state lie, which a killed process may have left half-written."""
    return (data, data / "tls", data / "router", *instance_folders(data))


def _disk(settings: ServerSettings) -> DiskSpace:
    """Return the room where objects, images, builds and containers lie, as of now."""
    data = settings.data_dir
    containers = settings.container_storage or _system_storage()
    folders = (data, data / "registry", data / "builder", data / "builds", containers)
    disk = DiskSpace(folders, settings.disk.floor, databases=[data / "upwell.db"])
    disk.look()
    return disk


def _system_storage() -> Path:
    """Return where Podman keeps its storage unless it is told (containers-storage.conf(5))."""
    if os.geteuid() == 0:
        return Path("/var/lib/containers/storage")
    return Path.home() / ".local/share/containers/storage"
