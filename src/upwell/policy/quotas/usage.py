"""Amounts that objects take of a quota, by the names that Kubernetes has for it; pure.

A workload takes as many Pods as it wants to have; one that is stored takes itself until it ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.codec import RESOURCES
from upwell.api.core import BUILD_STORAGE, IMAGE_STORAGE, UPLOAD_STORAGE, ResourceQuota
from upwell.api.meta import Kind, Resource
from upwell.api.pod import FAILED, SUCCEEDED, Pod
from upwell.api.storage import PersistentVolumeClaim
from upwell.api.values.quantities import InvalidQuantityError, format_bytes, parse_quantity
from upwell.policy.quotas.claims import asked_of_claims

PODS, STORAGE, CLAIMS = "pods", "requests.storage", "persistentvolumeclaims"
MEASURED = frozenset({IMAGE_STORAGE, BUILD_STORAGE, UPLOAD_STORAGE})
"""Names of which no object takes: they are measured where they lie, and limited there."""
_BYTES = frozenset({STORAGE, *MEASURED})
_ALIASES = {
    "services": "services",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "resourcequotas": "resourcequotas",
    "imagestreams.image.openshift.io": "openshift.io/imagestreams",
}
"""Names that Kubernetes and OpenShift have for the count of a kind as well."""
_WORKLOADS: tuple[type[Resource], ...] = (
    Deployment, DeploymentConfig, StatefulSet, DaemonSet, Job, Pod,
)  # fmt: skip

_CLAIMING: tuple[type[Resource], ...] = (StatefulSet, PersistentVolumeClaim)

_FULL, _MANY = Decimal("0.8"), 10
"""Part of a limit above which it is nearly used, if it is of so many at least."""

type Usage = Mapping[str, Decimal]
"""Amounts by name."""


@dataclass(frozen=True, slots=True)
class ExceededQuota:
    """A quota that would be exceeded, and the amounts of those names that exceed it."""

    quota: str
    requested: Usage
    used: Usage
    limited: Usage

    def __str__(self) -> str:
        parts = {"requested": self.requested, "used": self.used, "limited": self.limited}
        texts = (f"{word}: {_listed(part)}" for word, part in parts.items())
        return f"exceeded quota: {self.quota}, {', '.join(texts)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one namespace, from a ResourceQuota or from the server's settings."""

    quota: str
    """Its name."""
    hard: Usage


def limits_of(quota: ResourceQuota) -> Limits:
    """Return the limits of a quota; what is no quantity limits nothing."""
    return Limits(quota.name, readable(quota.spec.hard))


def readable(hard: Mapping[str, str | int]) -> Usage:
    """Return the quantities among some texts."""
    found: dict[str, Decimal] = {}
    for name, text in hard.items():
        try:
            found[name] = parse_quantity(text)
        except InvalidQuantityError:
            continue
    return found


def charge_of(resource: Resource) -> Usage:
    """Return what one object takes."""
    kind = resource.KIND
    found = dict.fromkeys(_counts(kind), Decimal(1))
    if isinstance(resource, _WORKLOADS):
        found[PODS] = Decimal(_replicas(resource))
    if isinstance(resource, _CLAIMING):
        claims, replicas = asked_of_claims(resource), found.get(PODS, Decimal(1))
        found[CLAIMS] = Decimal(len(claims)) * replicas
        found[STORAGE] = sum(claims.values(), Decimal(0)) * replicas
    return found


def total(charges: Iterable[Usage]) -> Usage:
    """Return the sum."""
    found: dict[str, Decimal] = {}
    for name, amount in chain.from_iterable(charge.items() for charge in charges):
        found[name] = found.get(name, Decimal(0)) + amount
    return found


def added(old: Usage, new: Usage) -> Usage:
    """Return what `new` takes more than `old`."""
    return {
        name: amount - old.get(name, Decimal(0))
        for name, amount in new.items()
        if amount > old.get(name, Decimal(0))
    }


def counted_kinds(names: Iterable[str]) -> Sequence[type[Resource]]:
    """Return the kinds whose objects take of some names."""
    wanted = set(names)
    kinds = [kind for kind in RESOURCES if kind.KIND.is_stored and kind.KIND.namespaced]
    return [kind for kind in kinds if wanted & _names_of(kind)]


def unknown_names(hard: Iterable[str]) -> Sequence[str]:
    """Return the names that nothing takes of."""
    known = set(chain.from_iterable(_names_of(kind) for kind in RESOURCES if kind.KIND.is_stored))
    return sorted(set(hard) - known - MEASURED)


def least(limits: Iterable[Limits], name: str) -> tuple[str, Decimal] | None:
    """Return the lowest limit of a name, after its quota; None: there is none."""
    found = [(limit.hard[name], limit.quota) for limit in limits if name in limit.hard]
    return min(found)[::-1] if found else None


def nearly_used(hard: Usage, used: Usage) -> Sequence[str]:
    """Return the names of which little is left: more than four fifths are used.

    A limit of a few is meant to be used up, and counts only when it is exceeded.
    """
    return sorted(
        name
        for name, most in hard.items()
        if used.get(name, Decimal(0)) > (most * _FULL if most >= _MANY else most)
    )


def exceeded(
    limits: Iterable[Limits], requested: Usage, used: Callable[[str], Decimal]
) -> ExceededQuota | None:
    """Return the first limit that does not allow what is asked for as well."""
    for limit in limits:
        over = {
            name
            for name, amount in requested.items()
            if name in limit.hard and used(name) + amount > limit.hard[name]
        }
        if over:
            return ExceededQuota(
                limit.quota,
                {name: requested[name] for name in over},
                {name: used(name) for name in over},
                {name: limit.hard[name] for name in over},
            )
    return None


def shown(name: str, amount: Decimal) -> str:
    """Return an amount of a name as a quantity."""
    if name in _BYTES and amount == int(amount):
        return format_bytes(int(amount))
    return f"{amount.normalize():f}"


def _listed(amounts: Usage) -> str:
    return ",".join(f"{name}={shown(name, amount)}" for name, amount in sorted(amounts.items()))


def _counts(kind: Kind) -> Sequence[str]:
    """Return the names that each object of a kind counts as."""
    qualified = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    alias = _ALIASES.get(qualified)
    return (f"count/{qualified}", alias) if alias else (f"count/{qualified}",)


def _names_of(kind: type[Resource]) -> set[str]:
    names = set(_counts(kind.KIND))
    if kind in _WORKLOADS:
        names.add(PODS)
    if kind in _CLAIMING:
        names |= {CLAIMS, STORAGE}
    return names


def _replicas(resource: Resource) -> int:
    match resource:
        case Deployment() | DeploymentConfig() | StatefulSet():
            return resource.spec.replicas
        case Job():
            return resource.spec.parallelism
        case Pod():
            return int(resource.status.phase not in {SUCCEEDED, FAILED})
        case _:
            return 1
