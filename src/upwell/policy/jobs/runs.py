"""Next steps of a Job: runs to start or to wait for, or its end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from upwell.api.apps import Job
from upwell.api.validation.numbers import MAX_COMPLETIONS, MAX_PARALLELISM
from upwell.policy.rollouts.rollout import FIRST_BACKOFF, LONGEST_BACKOFF, restart_after_loss

SUPERSEDED = "Superseded"
"""Condition of a failed Job of a CronJob: a newer run has succeeded."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the runtime shows it."""

    index: int
    started_at: datetime
    ended: bool
    succeeded: bool
    restarts: int
    message: str = ""
    interrupted: bool = False
    """Its start was cut short, or the machine lost it: it runs again, and that is no failure."""
    losses: int = 0
    """Times in a row that the machine has lost it."""

    @property
    def failures(self) -> int:
        """Number of times that it has failed."""
        failed_now = self.ended and not self.succeeded and not self.interrupted
        return self.restarts + failed_now

    @property
    def restart_at(self) -> datetime:
        """Time at which a failed run is tried again: after 10 s, doubling to 300 s."""
        if self.interrupted:
            return restart_after_loss(self.started_at, self.losses)
        return self.started_at + min(FIRST_BACKOFF * (1 << min(self.restarts, 5)), LONGEST_BACKOFF)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """Actions of a Job that are due now. With an outcome, nothing goes on."""

    start: Sequence[int] = ()
    completed: tuple[int, ...] = ()
    outcome: str = ""
    """`Complete`, or why the Job has failed: a condition's reason."""
    message: str = ""
    look_at: datetime | None = None
    """Time at which something has to be decided that no change announces."""


def plan(
    job: Job, runs: Sequence[Run], now: datetime, well_since: datetime | None = None
) -> JobPlan:
    """Say what comes next; calling again after any part of it was done is always right.

    `well_since` is when machine and runtime were at fault last: no time before it is held against
    the Job.
    """
    spec = job.spec
    wanted = 1 if spec.completions is None else spec.completions
    ended_well = {run.index for run in runs if run.succeeded}
    completed = tuple(sorted({*job.status.completed, *ended_well}))
    if len(completed) >= wanted:
        return JobPlan(completed=completed, outcome="Complete")
    if spec.suspend:
        return JobPlan(completed=completed, message="spec.suspend is set")
    failures = sum(run.failures for run in runs)
    if failures > spec.backoff_limit:
        last = next((run.message for run in runs if run.failures), "")
        why = f"failed {failures} times: {last}"
        return JobPlan(completed=completed, outcome="BackoffLimitExceeded", message=why)
    ahead = well_since is not None and well_since > now  # the clock went back
    deadline = _deadline(job, None if ahead else well_since)
    if deadline is not None and now >= deadline:
        why = f"not complete after {spec.active_deadline_seconds} s"
        return JobPlan(completed=completed, outcome="DeadlineExceeded", message=why)
    found = _starts(job, runs, completed, now)
    times = [time for time in (found.look_at, deadline) if time is not None]
    return replace(found, look_at=min(times, default=None))


def _starts(job: Job, runs: Sequence[Run], completed: tuple[int, ...], now: datetime) -> JobPlan:
    spec = job.spec
    wanted = 1 if spec.completions is None else spec.completions
    parallelism = spec.parallelism
    if (
        wanted > MAX_COMPLETIONS or parallelism > MAX_PARALLELISM
    ):  # admitted before there was a bound
        why = (
            f"spec.completions is more than {MAX_COMPLETIONS},"
            f" or spec.parallelism more than {MAX_PARALLELISM}"
        )
        return JobPlan(completed=completed, message=why)
    active = [run.index for run in runs if not run.ended]
    room = max(parallelism - len(active), 0)
    waiting = {run.index: run.restart_at for run in runs if run.ended and not run.succeeded}
    occupied = {*completed, *active}
    free = (index for index in range(wanted) if index not in occupied)
    ready = (index for index in free if waiting.get(index, now) <= now)
    times = (
        time
        for index, time in waiting.items()
        if index < wanted and index not in occupied and time > now
    )
    look_at = min(times, default=None)
    lost = next((run.message for run in runs if run.interrupted and run.losses), "")
    return JobPlan(
        start=list(islice(ready, room)), completed=completed, message=lost, look_at=look_at
    )


def _deadline(job: Job, well_since: datetime | None) -> datetime | None:
    seconds, since = job.spec.active_deadline_seconds, job.status.start_time
    if seconds is None or since is None:
        return None
    return max(since, well_since or since) + timedelta(seconds=seconds)
