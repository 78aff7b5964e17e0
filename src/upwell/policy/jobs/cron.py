"""Times of a CronJob: its last due time, its next, and what to do about those that were missed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from upwell.api.apps import CronJob, CronJobSpec
from upwell.api.values.schedules import (
    InvalidScheduleError,
    UnknownTimeZoneError,
    parse_zone,
    times_around,
)


class CronError(Exception):
    """The schedule cannot be kept; `reason` goes into a condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Concurrency(StrEnum):
    """Policy for a run that is due while an earlier one goes on."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


@dataclass(frozen=True, slots=True)
class Due:
    """Actions that are due now, and the time to look again."""

    run: datetime | None = None
    """The time whose run is to be started; of several that were missed, the last."""
    replace: bool = False
    """True if the runs that go on are ended first."""
    next: datetime | None = None
    message: str = ""
    """Reason why a due run is not started."""


def decide(job: CronJob, *, running: int, now: datetime) -> Due:
    """Say whether a run is due; raises CronError for a schedule that cannot be understood."""
    spec = job.spec
    policy = _concurrency(spec)
    last = job.status.last_schedule_time or job.metadata.creation_timestamp or now
    previous, following = around(spec.schedule, spec.time_zone or "Etc/UTC", now)
    if spec.suspend:
        return Due(message="spec.suspend is set")
    if previous is None or previous <= last:
        return Due(next=following)
    limit = spec.starting_deadline_seconds
    if limit is not None and now - previous > timedelta(seconds=limit):
        late = f"the run of {previous:%Y-%m-%d %H:%M} UTC was missed by more than {limit} s"
        return Due(next=following, message=late)
    if running and policy is Concurrency.FORBID:
        waits = f"the run of {previous:%Y-%m-%d %H:%M} UTC waits: an earlier run is active"
        return Due(next=following, message=waits)
    replace = bool(running) and policy is Concurrency.REPLACE
    return Due(run=previous, replace=replace, next=following)


def job_name(job: CronJob, due: datetime) -> str:
    """Return the one name of the run that is due at a time: starting it twice starts it once."""
    return f"{job.name}-{int(due.timestamp()) // 60}"


def _concurrency(spec: CronJobSpec) -> Concurrency:
    try:
        return Concurrency(spec.concurrency_policy)
    except ValueError:
        known = ", ".join(Concurrency)
        raise CronError(
            "InvalidSchedule", f"concurrencyPolicy {spec.concurrency_policy!r} is none of {known}"
        ) from None


def around(schedule: str, time_zone: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the last time of a cron schedule up to `now`, and the first after it, in UTC.

    Raises CronError.
    """
    try:
        previous, following = times_around(schedule, now.astimezone(parse_zone(time_zone)))
    except UnknownTimeZoneError as error:
        raise CronError("UnknownTimeZone", str(error)) from None
    except InvalidScheduleError as error:
        raise CronError("InvalidSchedule", str(error)) from error
    return _utc(previous), _utc(following)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
