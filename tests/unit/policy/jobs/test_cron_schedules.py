"""Due times of CronJobs in any zone, and those that were missed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.apps import CronJob
from upwell.api.codec import decode_as
from upwell.api.validation.schedules import schedule_faults
from upwell.policy.jobs.cron import CronError, decide, job_name


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(schedule: str, last: str = "2026-03-01T00:00", **spec: Any) -> CronJob:
    made = decode_as(
        CronJob,
        {
            "metadata": {"namespace": "shop", "name": "report"},
            "spec": {"schedule": schedule, **spec},
        },
    )
    status = made.status.model_copy(update={"last_schedule_time": at(last)})
    return made.with_status(status)


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "run", "following"),
    [
        ("*/10 * * * *", None, "2026-03-02T12:05", "2026-03-02T12:00", "2026-03-02T12:10"),
        ("0 3 * * *", None, "2026-03-02T03:00", "2026-03-02T03:00", "2026-03-03T03:00"),
        ("@hourly", None, "2026-03-02T03:59", "2026-03-02T03:00", "2026-03-02T04:00"),
        ("0 3 ? * ?", None, "2026-03-02T12:00", "2026-03-02T03:00", "2026-03-03T03:00"),
        ("@every 1h30m", None, "2026-03-02T12:05", "2026-03-02T12:00", "2026-03-02T13:30"),
        ("@every 90m", "Europe/Berlin", "2026-03-02T12:00", "2026-03-02T12:00", "2026-03-02T13:30"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-02T12:00", "2026-03-02T02:00", "2026-03-03T02:00"),
        # Summer time begins on 29 March: the same local hour is another hour of UTC.
        ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-28T02:00", "2026-03-29T01:00"),
        ("0 0 * * 1", None, "2026-03-04T00:00", "2026-03-02T00:00", "2026-03-09T00:00"),
    ],
)
def test_the_last_due_time_and_the_next(
    schedule: str, zone: str | None, now: str, run: str, following: str
) -> None:
    due = decide(cron(schedule, timeZone=zone), running=0, now=at(now))
    assert (due.run, due.next) == (at(run), at(following))


def test_of_all_times_that_were_missed_the_last_alone_is_due() -> None:
    job = cron("*/5 * * * *", last="2026-03-01T00:00")
    now = at("2026-03-05T10:02")
    due = decide(job, running=0, now=now)
    assert due.run == at("2026-03-05T10:00")
    done = job.with_status(job.status.model_copy(update={"last_schedule_time": due.run}))
    assert decide(done, running=0, now=now).run is None


def test_a_time_that_was_missed_by_too_much_is_left_out() -> None:
    job = cron("0 3 * * *", startingDeadlineSeconds=600)
    assert decide(job, running=0, now=at("2026-03-02T03:10")).run == at("2026-03-02T03:00")
    late = decide(job, running=0, now=at("2026-03-02T03:11"))
    assert late.run is None
    assert "missed by more than 600 s" in late.message


def test_runs_that_go_on_are_waited_for_replaced_or_joined() -> None:
    now = at("2026-03-02T03:00")
    assert decide(cron("0 3 * * *"), running=1, now=now).run == now
    forbid = decide(cron("0 3 * * *", concurrencyPolicy="Forbid"), running=1, now=now)
    assert (forbid.run, "earlier run is active" in forbid.message) == (None, True)
    replace = decide(cron("0 3 * * *", concurrencyPolicy="Replace"), running=1, now=now)
    assert (replace.run, replace.replace) == (now, True)


def test_a_suspended_one_is_never_due() -> None:
    due = decide(cron("* * * * *", suspend=True), running=0, now=at("2026-03-02T03:00"))
    assert (due.run, due.next, due.message) == (None, None, "spec.suspend is set")


@pytest.mark.parametrize(
    ("schedule", "more", "reason"),
    [
        ("every day", {}, "InvalidSchedule"),
        ("", {}, "InvalidSchedule"),
        ("61 * * * *", {}, "InvalidSchedule"),
        ("* * * * *", {"timeZone": "Mars/Olympus"}, "UnknownTimeZone"),
        ("* * * * *", {"timeZone": "../../etc/passwd"}, "UnknownTimeZone"),
        ("* * * * *", {"concurrencyPolicy": "Maybe"}, "InvalidSchedule"),
    ],
)
def test_a_schedule_that_cannot_be_kept_says_why(
    schedule: str, more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CronError) as caught:
        decide(cron(schedule, **more), running=0, now=at("2026-03-02T03:00"))
    assert caught.value.reason == reason


def test_each_time_has_one_job() -> None:
    job, time = cron("* * * * *"), at("2026-03-02T03:00")
    assert job_name(job, time) == job_name(job, time)
    assert job_name(job, time) != job_name(job, time + timedelta(minutes=1))


@pytest.mark.parametrize(
    "schedule",
    ["@every 5m", "@every 1h30m1.5s", "@every 1ns", "@midnight", "? 3 * * ?", "1-59/2 * * jan *"],
)
def test_what_is_valid_is_kept(schedule: str) -> None:
    assert list(schedule_faults({"schedule": schedule}, "spec")) == []
    assert decide(cron(schedule), running=0, now=at("2026-03-02T12:05")).next is not None


@pytest.mark.parametrize(
    "schedule", ["@every", "@every 5", "@every -5m", "@every 1d", f"@every {'9' * 400}h", "@Hourly"]
)
def test_what_cannot_be_kept_is_not_valid(schedule: str) -> None:
    assert [one.path for one in schedule_faults({"schedule": schedule}, "spec")] == [
        "spec.schedule"
    ]
    with pytest.raises(CronError):
        decide(cron(schedule), running=0, now=at("2026-03-02T12:05"))
