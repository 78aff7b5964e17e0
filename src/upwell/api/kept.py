"""Kinds that nothing here acts on: kept as they are written, so that folders that have them apply.

Each says what it has no effect on, and what does. Validation looks at the fields of autoscalers
alone, which clients make of options.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from upwell.api.columns import kept as columns
from upwell.api.meta import Column, Kind, Resource, Scope

_GRANTS = "rights are grants of tokens and ServiceAccounts (docs/access.md)"
_STORAGE = "each claim is a folder of the data folder"
_ONE_MACHINE = "instances run on this machine, whatever their priority"
_ALERTS = "metrics are read at /metrics, and alerts are Subscriptions (docs/metrics.md)"


AUTOSCALER = "HorizontalPodAutoscaler"


class Kept(Resource):
    """An object that is kept, shown and deleted, and has no effect."""

    KIND: ClassVar[Kind]
    INSTEAD: ClassVar[str]
    """Sentence about what decides instead."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A kind, as its API defines it."""

    api_version: str
    kind: str
    plural: str
    instead: str
    short_names: tuple[str, ...] = ()
    scope: Scope = Scope.NAMESPACED
    legacy: bool = False
    earlier: tuple[str, ...] = field(default=())
    aliases: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    has_age: bool = True
    has_name: bool = True

    def resource(self) -> type[Kept]:
        """Return the class of its objects."""
        group, _, version = self.api_version.rpartition("/")
        kind = Kind(
            group,
            version,
            self.kind,
            self.plural,
            self.short_names,
            self.scope,
            has_status=False,
            legacy=self.legacy,
            earlier_versions=self.earlier,
            aliases=self.aliases,
            has_age=self.has_age,
            has_name=self.has_name,
            columns=self.columns,
        )
        members = {
            "KIND": kind,
            "INSTEAD": self.instead,
            "__doc__": f"A {self.kind}, kept as it is written.",
            "__module__": __name__,
        }
        return type(self.kind, (Kept,), members)


_CLUSTER = Scope.CLUSTER
_ROWS = (
    _Row(
        "autoscaling/v2",
        AUTOSCALER,
        "horizontalpodautoscalers",
        "a workload has the replicas that it declares (`kubectl scale`)",
        ("hpa",),
        earlier=("v1", "v2beta1", "v2beta2"),
        columns=columns.AUTOSCALER,
    ),
    _Row(
        "policy/v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "a rollout keeps as many instances as the strategy of its workload says",
        ("pdb",),
        earlier=("v1beta1",),
        columns=columns.DISRUPTION_BUDGET,
    ),
    _Row(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        "priorityclasses",
        _ONE_MACHINE,
        ("pc",),
        _CLUSTER,
        earlier=("v1beta1",),
        columns=columns.PRIORITY_CLASS,
    ),
    _Row(
        "storage.k8s.io/v1",
        "StorageClass",
        "storageclasses",
        _STORAGE,
        ("sc",),
        _CLUSTER,
        earlier=("v1beta1",),
        columns=columns.STORAGE_CLASS,
        has_name=False,
    ),
    _Row(
        "v1",
        "PersistentVolume",
        "persistentvolumes",
        _STORAGE,
        ("pv",),
        _CLUSTER,
        columns=columns.PERSISTENT_VOLUME,
    ),
    *(
        _Row(
            "rbac.authorization.k8s.io/v1",
            kind,
            f"{kind.lower()}s",
            _GRANTS,
            scope=scope,
            legacy=True,
            earlier=("v1beta1",),
            aliases=("authorization.openshift.io/v1",),
            columns=columns.ROLE_BINDING if kind.endswith("Binding") else columns.ROLE,
            has_age=kind.endswith("Binding"),
        )
        for kind, scope in (
            ("Role", Scope.NAMESPACED),
            ("RoleBinding", Scope.NAMESPACED),
            ("ClusterRole", _CLUSTER),
            ("ClusterRoleBinding", _CLUSTER),
        )
    ),
    _Row(
        "user.openshift.io/v1",
        "Group",
        "groups",
        _GRANTS,
        (),
        _CLUSTER,
        legacy=True,
        columns=columns.GROUP,
        has_age=False,
    ),
    _Row(
        "security.openshift.io/v1",
        "SecurityContextConstraints",
        "securitycontextconstraints",
        "a namespace has a Pod Security level by its label (docs/workload-security.md)",
        ("scc",),
        _CLUSTER,
        legacy=True,
        columns=columns.SECURITY_CONTEXT_CONSTRAINTS,
        has_age=False,
    ),
    _Row("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", _ALERTS, ("smon",)),
    _Row("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", _ALERTS, ("pmon",)),
    _Row("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", _ALERTS, ("promrule",)),
)

KEPT: tuple[type[Kept], ...] = tuple(row.resource() for row in _ROWS)
"""Every such kind."""

# By their names, as the classes of all other kinds are found in their modules.
globals().update({kind.KIND.kind: kind for kind in KEPT})
