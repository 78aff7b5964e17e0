"""upwell.dev/v1alpha1: a place where stages may run: another cluster, or this server's own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from upwell.api.meta import Column, ColumnType, Condition, Kind, Model, Resource, Scope, Time

LOCAL = "local"
"""Name of the Cluster that is where this server itself runs workloads."""
REACHABLE = "Reachable"
"""Condition of a Cluster: whether its API server answers us."""
AUTHORIZED = "Authorized"
"""Condition of a Cluster: whether the access has every right that stages need there."""
CHECKS_AUTHORIZED = "ChecksAuthorized"
"""Condition of a Cluster: whether the access may also run the Jobs of stages' checks there."""


class KubeconfigSecretReference(Model):
    """A key of a Secret that holds a kubeconfig."""

    namespace: str = ""
    name: str = ""
    key: str = "value"
    """As Cluster API writes it."""


class KubeconfigAccess(Model):
    """Access to another cluster."""

    secret_ref: KubeconfigSecretReference = Field(default_factory=KubeconfigSecretReference)


class ClusterSpec(Model):
    """Access to the cluster, and the part of it in which stages may run."""

    kube_config: KubeconfigAccess | None = None
    """Access to another cluster, with certificates and tokens inline."""
    local: bool = False
    """True, in place of `kubeConfig`: where this server itself runs workloads, which is Podman on
    one machine, and on a cluster that one."""
    namespaces: tuple[str, ...] = ()
    """Stages may be in these alone; empty: in all that the access reaches."""
    mirror: str | None = None
    """A registry and repository prefix that its nodes pull from: images are copied there before
    they are set, digests kept."""


class ClusterStatus(Model):
    """Status of a Cluster, as it answered last."""

    observed_generation: int | None = None
    version: str = ""
    """Version of its API server."""
    last_seen: Time | None = None
    """Time of an answer; it moves once a minute."""
    conditions: tuple[Condition, ...] = ()


def _place(cluster: Mapping[str, Any]) -> str:
    spec = cluster.get("spec") or {}
    if spec.get("local"):
        return "local"
    secret = (spec.get("kubeConfig") or {}).get("secretRef") or {}
    return f"secret/{secret.get('namespace', '')}/{secret.get('name', '')}"


def _of(condition: str, field: str) -> str:
    return f'status.conditions[?(@.type=="{condition}")].{field}'


class Cluster(Resource):
    """A place where stages may run."""

    KIND: ClassVar[Kind] = Kind(
        "upwell.dev",
        "v1alpha1",
        "Cluster",
        "clusters",
        scope=Scope.CLUSTER,
        columns=(
            Column("ACCESS", "spec.kubeConfig.secretRef.name", text=_place),
            Column("REACHABLE", _of(REACHABLE, "status")),
            Column("AUTHORIZED", _of(AUTHORIZED, "status")),
            Column("VERSION", "status.version", empty=""),
            Column("SEEN", "status.lastSeen", ColumnType.DATE),
            Column("MIRROR", "spec.mirror", wide=True),
            Column("MESSAGE", _of(REACHABLE, "message"), wide=True),
        ),
    )

    spec: ClusterSpec = Field(default_factory=ClusterSpec)
    status: ClusterStatus = Field(default_factory=ClusterStatus)
