"""From what is reported of a component to the status of its object; pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from upwell.api.cluster_operator import (
    AVAILABLE,
    PROGRESSING,
    ClusterOperatorStatus,
    OperandVersion,
    OperatorExtension,
    OperatorFault,
)
from upwell.api.conditions import AS_EXPECTED, DEGRADED, set_condition
from upwell.api.meta import Condition
from upwell.machine.components import ComponentState

_MOST_FAULTS = 10


def component_status(
    before: ClusterOperatorStatus, state: ComponentState, version: str, now: datetime
) -> ClusterOperatorStatus:
    """Return the status that follows from a report; `before` may be of an earlier process.

    Without a report, what an earlier process wrote stands.
    """
    if before.conditions and not state.reported:
        return before
    conditions = before.conditions
    for condition in _conditions(state):
        conditions = set_condition(conditions, condition, state.since)
    faults = [*_earlier(before.extension.faults, state, now), *_faults(state)]
    return before.model_copy(
        update={
            "conditions": conditions,
            "versions": (OperandVersion(name="operator", version=version),),
            "extension": OperatorExtension(faults=tuple(faults[-_MOST_FAULTS:])),
        }
    )


def _conditions(state: ComponentState) -> Iterator[Condition]:
    reason, message = state.reason or AS_EXPECTED, state.message
    down = state.faulty and state.required
    yield _condition(AVAILABLE, reason if down else AS_EXPECTED, message, holds=not down)
    yield _condition(PROGRESSING, AS_EXPECTED, holds=False)
    yield _condition(DEGRADED, reason, message, holds=state.faulty)


def _condition(kind: str, reason: str, message: str = "", *, holds: bool) -> Condition:
    return Condition(type=kind, status=str(holds), reason=reason, message=message)


def _faults(state: ComponentState) -> Iterator[OperatorFault]:
    for fault in state.faults:
        yield OperatorFault(
            since=fault.since, reason=fault.reason, message=fault.message, until=fault.until
        )


def _earlier(
    faults: Sequence[OperatorFault], state: ComponentState, now: datetime
) -> Iterator[OperatorFault]:
    """Yield the faults that earlier processes reported, all ended.

    One that lasted when its process ended has ended when the component is well now; else it goes on
    as the fault that this process has found.
    """
    known = {fault.since for fault in state.faults}
    for fault in faults:
        if fault.since in known:
            continue
        if fault.until is not None:
            yield fault
        elif not state.faulty:
            yield fault.model_copy(update={"until": now})
