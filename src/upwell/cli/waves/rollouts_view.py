"""Lines about the rollouts of a Wave: who goes first, and what has stopped it."""

from collections.abc import Iterator
from datetime import datetime

from upwell.api.waves.wave import CanaryState, Wave
from upwell.cli.core.output import format_age
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
