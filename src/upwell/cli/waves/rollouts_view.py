"""Lines about a Wave's progress: who goes first, what has stopped it, and what is held back."""

from collections.abc import Iterator
from datetime import datetime

from upwell.api.waves.wave import CanaryState, Wave
from upwell.cli.core.output import format_age
from upwell.policy.waves.gate import closed_gate
from upwell.policy.waves.stop import stop_in_force

_FEW = 5


def rollout_lines(wave: Wave, now: datetime) -> Iterator[str]:
    """Yield which workloads go first and how they are, and which failures have stopped a Wave."""
    canary = wave.status.canary
    if canary is not None and canary.workloads:
        names = [f"{one.namespace}/{one.name}" for one in canary.workloads[:_FEW]]
        more = len(canary.workloads) - len(names)
        listed = ", ".join(names) + (f" and {more} more" if more else "")
        yield f"  {listed} {'went' if canary.state is CanaryState.PASSED else 'go'} first:"
        # The message names them too, for the conditions of those that wait.
        unhealthy = canary.state is CanaryState.ROLLING_OUT
        text = canary.message.partition("; ")[2] if unhealthy else canary.message
        yield f"    {canary.healthy} of {len(canary.workloads)} healthy; {text or canary.message}"
    stop = stop_in_force(wave, wave.status.stop)
    if stop is not None:
        yield f"  stopped {format_age(stop.stopped, now)} ago: {stop.message}"
        for one in stop.failures:
            first = one.reason.strip().partition("\n")[0]
            yield f"    ! {one.kind} {one.namespace}/{one.name}: {first}"


def held_lines(wave: Wave) -> Iterator[str]:
    """Yield what has failed or is held back, and why: the first few.

    What the Wave itself waits for is left out: its message tells that.
    """
    if stop_in_force(wave, wave.status.stop) is not None:
        return
    gate = closed_gate(wave)
    own = gate.text if gate is not None else None
    held = [one for one in wave.status.held if one.reason != own]
    for one in held[:_FEW]:
        until = f" (until {one.until:%Y-%m-%d %H:%M} UTC)" if one.until is not None else ""
        first = one.reason.strip().partition("\n")[0]
        yield f"    ! {one.kind} {one.namespace}/{one.name}: {first}{until}"
    if len(held) > _FEW:
        yield f"    ! and {len(held) - _FEW} more"
