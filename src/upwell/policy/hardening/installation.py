"""State of an installation, as far as the hardening list asks about it; values alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.core import Namespace, ResourceQuota, ServiceAccount
from upwell.api.image_policies.policy import ClusterImagePolicy
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.requests.encryption import EncryptionStatus
from upwell.policy.access.roles import Grant


@dataclass(frozen=True, slots=True)
class FileMode:
    """A file or folder, and who may open it."""

    path: str
    mode: int
    """Permission bits, as of chmod(1)."""
    owner: int
    """User id."""


@dataclass(frozen=True, slots=True)
class AdminUse:
    """Use of the own user's token over the network."""

    source: str
    """Address of the client."""
    time: str


@dataclass(frozen=True, slots=True)
class FolderState:
    """The data folder."""

    folder: FileMode
    secrets: Sequence[FileMode]
    """Databases, keys, tokens and logs in it."""
    admin_token_age: timedelta | None
    """None without that token."""
    admin_uses: Sequence[AdminUse]
    """The last use of each source, as the audit log has it."""


class ServedSettings(BaseModel):
    """Settings with which a server runs, as far as they are about its safety; no secrets.

    The server writes them when it starts, so that nobody has to guess its options.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: int
    url: str
    host: str
    on_loopback: bool
    router: str = ""
    """HOST:PORT of Routes; empty: not told."""
    router_https: str = ""
    tls: bool
    anonymous: str = ""
    """A role."""
    admin_by_socket: bool = False
    """True if `admin.token` is refused over the network."""
    answers_any_name: bool
    trusted_proxies: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    """Those that are not on loopback."""
    host_paths: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    build_network: str
    build_networks: tuple[str, ...] = ()
    build_host_network: bool
    build_user_namespaces: bool
    instance_user_namespaces: bool
    image_pull_verification: str = ""
    """Empty: not told, by an earlier version."""
    preloaded_images: tuple[str, ...] = ()
    container_storage: str = ""
    """Podman's storage; empty: the system's."""
    isolation: str
    machine_ports: tuple[int, ...] = ()
    metadata: bool
    audit_export: str = ""
    """Without what may be secret in its address."""
    encryption_keys: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    """Paths of files with keys and passwords, outside the data folder."""
    quota: tuple[str, ...] = ()
    """Limits of every namespace."""
    registry_bucket: Mapping[str, str | bool | None] = {}
    """The table [embedded-registry.bucket]; empty: images lie in the data folder."""
    insecure_bucket: str = ""
    """Endpoint of the bucket, where that is plain HTTP and not on loopback."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """File with a key of the database."""

    file: FileMode
    in_data_folder: bool
    beside_data_folder: bool
    """True if both lie in one folder, so that who copies that has both."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token of people or machines."""

    name: str
    grants: Sequence[Grant]
    made: datetime | None
    expires: datetime | None
    used: datetime | None = None
    """Its last use, to the hour; None: it was not seen since uses are kept."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """A server that runs: its settings, and what its API answers."""

    data_folder: str
    now: datetime
    settings: ServedSettings
    socket: FileMode | None
    """The local socket; None: there is none."""
    keys: Sequence[KeyFile]
    secret_files: Sequence[FileMode]
    build_ids_fault: str
    """Reason why root of a build is root outside; empty where it is not."""
    instance_ids_fault: str
    """The same of instances."""
    host_instances: Sequence[tuple[str, str, str]]
    """(kind, namespace, name) of the owner of each instance that runs with the host's ids."""
    encryption: EncryptionStatus
    components: Sequence[ClusterOperator]
    tokens: Sequence[TokenState]
    accounts: Sequence[ServiceAccount]
    namespaces: Sequence[Namespace]
    quotas: Sequence[ResourceQuota]
    pipelines: Sequence[Pipeline]
    workloads: Sequence[Resource]
    """Objects with Pod templates; Pipelines are apart."""
    image_policies: Sequence[ClusterImagePolicy] = ()
