"""An installation that is as the hardening list asks; tests change one thing of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import decode_as
from upwell.api.core import Namespace, ResourceQuota, ServiceAccount
from upwell.api.image_policies.policy import ClusterImagePolicy
from upwell.api.pipeline import Pipeline
from upwell.api.requests.encryption import EncryptionStatus
from upwell.policy.access.roles import parse_grant
from upwell.policy.hardening.installation import (
    FileMode,
    FolderState,
    ServedSettings,
    ServerState,
    TokenState,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DATA = "/var/lib/upwell"

SAFE_FOLDER = FolderState(
    FileMode(DATA, 0o700, 0),
    (FileMode(f"{DATA}/upwell.db", 0o600, 0), FileMode(f"{DATA}/admin.token", 0o600, 0)),
    timedelta(days=3),
    (),
)

SAFE_SETTINGS = ServedSettings(
    process=7,
    url="https://10.0.0.5:7080",
    host="10.0.0.5",
    on_loopback=False,
    tls=True,
    admin_by_socket=True,
    answers_any_name=False,
    trusted_proxies=("10.0.0.1/32", "10.9.0.0/24"),
    host_paths=("/srv/shared",),
    destinations=("127.0.0.1:5005", "git.corp:22", "10.1.2.3"),
    build_network="isolated",
    build_networks=("10.20.0.0/16",),
    build_host_network=False,
    build_user_namespaces=True,
    instance_user_namespaces=True,
    image_pull_verification="always",
    preloaded_images=("registry.corp/base/*",),
    isolation="services",
    metadata=False,
    audit_export="syslog+tls://logs.example:6514",
    encryption_keys=("file:/etc/upwell/key",),
)


def token(
    name: str = "ci",
    grant: str = "ci@shop",
    days: int | None = 30,
    age: int = 1,
    used: int | None = None,
) -> TokenState:
    """Return a token that was made `age` and used `used` days ago, and ends in `days`."""
    end = None if days is None else NOW + timedelta(days=days)
    last = None if used is None else NOW - timedelta(days=used)
    return TokenState(name, (parse_grant(grant),), NOW - timedelta(days=age), end, last)


def account(grants: str) -> ServiceAccount:
    """Return ServiceAccount robot of namespace shop."""
    annotations = {"upwell.dev/grants": grants}
    metadata = {"name": "robot", "namespace": "shop", "annotations": annotations}
    return decode_as(ServiceAccount, {"metadata": metadata})


def namespace(name: str = "shop", **labels: str) -> Namespace:
    """Return a Namespace; `enforce` is its profile."""
    marks = {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}
    return decode_as(Namespace, {"metadata": {"name": name, "labels": marks}})


def quota(**hard: str) -> ResourceQuota:
    """Return the ResourceQuota of namespace shop."""
    document = {"metadata": {"name": "all", "namespace": "shop"}, "spec": {"hard": hard}}
    return decode_as(ResourceQuota, document)


def component(name: str, fault: str = "") -> ClusterOperator:
    """Return the state of a component; with a fault it is degraded."""
    status = {"type": "Degraded", "status": "True" if fault else "False", "message": fault}
    document = {"metadata": {"name": name}, "status": {"conditions": [status]}}
    return decode_as(ClusterOperator, document)


def pipeline(*stages: dict[str, Any]) -> Pipeline:
    """Return a Pipeline of namespace shop."""
    document = {"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"stages": stages}}
    return decode_as(Pipeline, document)


def image_policy(mode: str, name: str = "vendor") -> ClusterImagePolicy:
    """Return a ClusterImagePolicy."""
    spec = {"scopes": ["*"], "enforcement": {"mode": mode}}
    return decode_as(ClusterImagePolicy, {"metadata": {"name": name}, "spec": spec})


SAFE_SERVER = ServerState(
    data_folder=DATA,
    now=NOW,
    settings=SAFE_SETTINGS,
    socket=FileMode(f"{DATA}/api.sock", 0o600, 0),
    keys=(),
    secret_files=(FileMode("/root/.docker/config.json", 0o600, 0),),
    build_ids_fault="",
    instance_ids_fault="",
    host_instances=(),
    encryption=EncryptionStatus(source="file:/etc/upwell/key", data_key="1"),
    components=(component("firewall"), component("audit-log"), component("audit-export")),
    tokens=(token(used=90), token("reader", "viewer@*")),
    accounts=(account("builder@shop"), account("viewer@*")),
    namespaces=(namespace(), namespace("upwell-system")),
    quotas=(quota(pods="10"),),
    pipelines=(pipeline({"name": "dev"}, {"name": "production", "approval": {}}),),
    workloads=(),
    image_policies=(image_policy("enforce"), image_policy("warn", "trial")),
)


def with_settings(**changes: Any) -> ServerState:
    """Return that server with other settings."""
    return replace(SAFE_SERVER, settings=SAFE_SETTINGS.model_copy(update=changes))


def with_objects(**changes: Sequence[Any]) -> ServerState:
    """Return that server with other objects."""
    return replace(SAFE_SERVER, **changes)  # type: ignore[arg-type]  # names of fields
