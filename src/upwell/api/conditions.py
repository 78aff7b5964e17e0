"""Conditions: set one without touching the time when nothing changed (meta/v1 Condition)."""

from datetime import datetime

from upwell.api.meta import Condition

DEGRADED = "Degraded"
"""Type of the condition that says what is wrong with an object, and for how long it was."""
NEARLY_USED = "NearlyUsed"
"""Type of the condition of a ResourceQuota that says that little is left."""
AS_EXPECTED = "AsExpected"
"""Reason of a condition of that kind while nothing is wrong (as of OpenShift's operators)."""


def find(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """Return the condition of this type."""
    return next((entry for entry in conditions if entry.type == kind), None)


def set_condition(
    conditions: tuple[Condition, ...], new: Condition, now: datetime
) -> tuple[Condition, ...]:
    """Return `conditions` with `new` in place of the one of its type.

    The transition time moves only when the status does, so that an equal reconcile writes nothing.
    """
    old = find(conditions, new.type)
    since = (
        old.last_transition_time
        if old is not None and old.status == new.status and old.last_transition_time
        else now
    )
    settled = new.model_copy(update={"last_transition_time": since})
    if old is None:
        return (*conditions, settled)
    return tuple(settled if entry.type == new.type else entry for entry in conditions)


def without(conditions: tuple[Condition, ...], kind: str) -> tuple[Condition, ...]:
    """Return `conditions` without the one of this type."""
    return tuple(entry for entry in conditions if entry.type != kind)
