"""The cluster as the server's store, and the election of the leader that reconciles."""

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from socket import gethostname

from upwell.api.core import Namespace
from upwell.app.kubernetes.admission import ClusterWebhook
from upwell.app.kubernetes.shared_keys import SharedKeys
from upwell.cluster.errors import ClusterError
from upwell.cluster.kubernetes_access import KubernetesAccessReviews
from upwell.cluster.kubernetes_admission import KubernetesAdmission
from upwell.controller.leader import Election, LeaderElection
from upwell.controller.leader_thread import LeaderThread
from upwell.machine.clock import now
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.reconcilers.authority import AuthorRights
from upwell.reconcilers.cluster_access import ClusterAuthors, ClusterRights
from upwell.settings import KubernetesSettings, ServerSettings
from upwell.store.clusters.access import (
    ClusterAccess,
    ClusterAccessError,
    kubeconfig_access,
    service_account_access,
)
from upwell.store.clusters.store import ClusterStore
from upwell.store.clusters.versions import use_served_versions
from upwell.store.fence import require_fence
from upwell.store.interface import Store
from upwell.store.kubernetes import KubernetesStore
from upwell.store.process_lock import ProcessLock
from upwell.store.unreadable import UnreadableObjects

_LEASE_SECONDS = 5.0
"""An answer about the lease that takes longer comes too late anyway."""


@dataclass(frozen=True, slots=True)
class OpenedCluster:
    """Store of a cluster, the client behind it, and the election of who reconciles."""

    store: Store
    client: KubernetesStore
    """For what is no object of Upwell's. Whatever a leader's tasks write by it, as by the store,
    needs their term (`LeaderTerm`)."""
    leader: LeaderThread
    """Election of who reconciles."""
    namespaces: tuple[str, ...]
    """Namespaces that are kept current; empty: all."""
    unreadable: UnreadableObjects
    """Objects that somebody has edited into nonsense."""
    rights: ClusterRights
    """Rights of the cluster's users, by its RBAC."""
    lease: Election
    """Lease that `leader` stands for."""
    keys: SharedKeys
    """Keys that all replicas share."""
    webhook: ClusterWebhook | None = None
    """Webhook by which the cluster asks about writes; None: it has no port."""

    @property
    def election(self) -> LeaderElection:
        """The election, for who asks how it stands."""
        return self.leader.election

    def authors(self, tokens: AuthorRights) -> AuthorRights:
        """Return what those may do who stand for objects; `tokens` are Upwell's own."""
        return ClusterAuthors(self.rights, tokens, self.admission)

    def admission(self) -> str:
        """Return the id of the admission in force; empty: none is."""
        return "" if self.webhook is None else self.webhook.state.id


async def open_cluster(settings: ServerSettings, stack: AsyncExitStack) -> OpenedCluster:
    """Open the store behind the cluster's API; the stack closes it. Raises a StoreError."""
    lock = ProcessLock.acquire(settings.data_dir / "upwell.db.lock")  # as on one machine
    stack.callback(lock.release)
    access = _access(settings.kubernetes)
    unreadable = UnreadableObjects()
    client = await stack.enter_async_context(
        KubernetesStore(access.server, lenient=unreadable, before_write=require_fence)
    )
    await client.get_raw("/version")  # says at once what is wrong with the access
    await use_served_versions(client)
    election = _election(settings.kubernetes, access)
    needed = {SYSTEM_NAMESPACE, election.namespace}
    store = ClusterStore(
        client,
        frozenset(election.namespaces),
        frozenset(needed),
        ready=client.require_ready,
    )
    # Leases are written past the fence, which stands by them, and wait for nothing else: not even
    # for the event loop of all other requests.
    leases = KubernetesStore(replace(access.server, timeout=_LEASE_SECONDS))
    return OpenedCluster(
        store,
        client,
        LeaderThread(LeaderElection(leases, election, wall=now), leases.close),
        settings.kubernetes.namespaces,
        unreadable,
        ClusterRights(KubernetesAccessReviews(client.connection)),
        election,
        SharedKeys(client, election.namespace),
        await _webhook(settings, election.namespace, client),
    )


async def server_name(store: Store, election: Election) -> str:
    """Return what all replicas of a server, and no other server, are named; raises a StoreError.

    `store` has all namespaces of the cluster: the uid of one that each has tells clusters apart.
    """
    cluster = (await store.get(Namespace, "", "kube-system")).metadata.uid
    return f"cluster {cluster}, namespace {election.namespace}, lease {election.name}"


async def _webhook(
    settings: ServerSettings, namespace: str, client: KubernetesStore
) -> ClusterWebhook | None:
    """Return the webhook of the cluster; raises a StoreError if it could not know its own writes.

    `client` has the Secrets of all namespaces, whichever are kept current.
    """
    if settings.kubernetes.admission_port is None:
        return None
    configurations = KubernetesAdmission(client.connection)
    try:
        account = await configurations.own_account()
    except ClusterError as error:
        message = f"the cluster does not say which account this server has: {error}"
        raise ClusterAccessError(message) from error
    return ClusterWebhook(
        client,
        configurations,
        account,
        namespace,
        settings.data_dir / "admission-tls",
        (*settings.local_names, *settings.access.tls_names),
        now,
    )


def _access(settings: KubernetesSettings) -> ClusterAccess:
    if settings.kubeconfig is not None:
        return kubeconfig_access(Path(settings.kubeconfig))
    return service_account_access(os.environ)


def _election(settings: KubernetesSettings, access: ClusterAccess) -> Election:
    return Election(
        settings.lease_namespace or access.namespace,
        settings.lease_name,
        f"{gethostname()}_{token_hex(8)}",
        settings.namespaces,
    )
