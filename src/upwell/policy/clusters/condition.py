"""Status of a Cluster, as it follows from a look at it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.clusters.cluster import (
    AUTHORIZED,
    CHECKS_AUTHORIZED,
    REACHABLE,
    Cluster,
    ClusterStatus,
)
from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition
from upwell.cluster.interface import AccessAttributes
from upwell.policy.clusters.rights import check_rights, missing_text

MISSING_RIGHTS = "MissingRights"
"""Reason of a condition about rights, and of a Pipeline's that waits for them."""
RECOVERED = "AnswersAgain"
"""Reason of the condition `Reachable` of a cluster that was away before."""
_SEEN_EVERY = timedelta(minutes=1)
"""`lastSeen` moves no more often: each move is a write."""
_MAX_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class ClusterObservation:
    """Answers of a cluster, or why it gave none."""

    version: str = ""
    denied: tuple[AccessAttributes, ...] | None = None
    """Rights that the access lacks; None: they were not asked for."""
    reason: str = ""
    """Reason for which it is not reached, in CamelCase; empty: it is."""
    message: str = ""


def cluster_status(cluster: Cluster, seen: ClusterObservation, now: datetime) -> ClusterStatus:
    """Return the status after a look; what was seen before stays where nothing is known."""
    before = cluster.status
    conditions = set_condition(before.conditions, _reachable(cluster, seen), now)
    if seen.denied is not None:
        of_checks = set(check_rights(cluster.spec.namespaces))
        for kind, denied in (
            (AUTHORIZED, [one for one in seen.denied if one not in of_checks]),
            (CHECKS_AUTHORIZED, [one for one in seen.denied if one in of_checks]),
        ):
            conditions = set_condition(conditions, _authorized(cluster, kind, denied), now)
    last_seen = before.last_seen
    if not seen.reason and (last_seen is None or not last_seen <= now < last_seen + _SEEN_EVERY):
        last_seen = now
    return before.model_copy(
        update={
            "observed_generation": cluster.generation,
            "version": seen.version or before.version,
            "last_seen": last_seen,
            "conditions": conditions,
        }
    )


def is_reachable(cluster: Cluster) -> bool:
    """Return True if the cluster answered when it was asked last, or was never asked."""
    found = find(cluster.status.conditions, REACHABLE)
    return found is None or found.status != "False"


def is_authorized(cluster: Cluster) -> bool:
    """Return True unless the access lacked a right that placing takes, when it was asked last."""
    found = find(cluster.status.conditions, AUTHORIZED)
    return found is None or found.status != "False"


def may_run_checks(cluster: Cluster) -> bool:
    """Return True unless the access lacked a right that Jobs of checks take, when asked last."""
    found = find(cluster.status.conditions, CHECKS_AUTHORIZED)
    return found is None or found.status != "False"


def has_changed(before: Cluster, after: Cluster) -> bool:
    """Return True unless a cluster was but seen again."""
    states = [
        (one.generation, one.labels, one.is_deleting, *((c.type, c.status) for c in conditions))
        for one in (before, after)
        for conditions in (one.status.conditions,)
    ]
    return states[0] != states[1]


def away_text(cluster: Cluster) -> str:
    """Return why a cluster is not reached, for people."""
    found = find(cluster.status.conditions, REACHABLE)
    return "it was not asked yet" if found is None else found.message


def unusable_since(cluster: Cluster) -> datetime | None:
    """Return since when a cluster is away, or denies what is asked of it; None: it is not known."""
    kinds = (REACHABLE, AUTHORIZED, CHECKS_AUTHORIZED)
    asked = (find(cluster.status.conditions, one) for one in kinds)
    failed = (one for one in asked if one is not None and one.status == "False")
    return next((one.last_transition_time for one in failed), None)


def _reachable(cluster: Cluster, seen: ClusterObservation) -> Condition:
    if seen.reason:
        return _condition(cluster, REACHABLE, seen.reason, seen.message, holds=False)
    if cluster.spec.local:
        return _condition(cluster, REACHABLE, "Local", "", holds=True)
    before = find(cluster.status.conditions, REACHABLE)
    was_away = before is not None and (before.status == "False" or before.reason == RECOVERED)
    reason = RECOVERED if was_away else "Answered"
    return _condition(cluster, REACHABLE, reason, "", holds=True)


def _authorized(cluster: Cluster, kind: str, denied: Sequence[AccessAttributes]) -> Condition:
    if not denied:
        return _condition(cluster, kind, "Allowed", "", holds=True)
    message = f"the access lacks: {missing_text(denied)}"
    return _condition(cluster, kind, MISSING_RIGHTS, message, holds=False)


def _condition(cluster: Cluster, kind: str, reason: str, message: str, *, holds: bool) -> Condition:
    return Condition(
        type=kind,
        status=str(holds),
        reason=reason,
        message=message[:_MAX_MESSAGE],
        observed_generation=cluster.generation,
    )
