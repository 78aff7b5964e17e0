"""Jobs and CronJobs in real containers; the reconcilers' time is moved on instead of waited for.

Runs write what they do into one claim, in the order in which it happens.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.waiting import eventually

from upwell.api.apps import CronJob, Job
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.policy.rollouts.rollout import FIRST_BACKOFF
from upwell.reconcilers.jobs.cron_jobs import SCHEDULED
from upwell.reconcilers.jobs.jobs import COMPLETE, FAILED, finished_at

__all__ = ["podman_home", "real_rollouts"]  # fixtures

MINUTE = timedelta(minutes=1)
LASTING = "trap 'echo stopped >> /notes/log; exit' TERM; echo run >> /notes/log; sleep 600 & wait"


def job_spec(real_rollouts: RealRollouts, script: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": str(real_rollouts.image),
        "command": ["/bin/busybox", "sh", "-c", script],
        "volumeMounts": [{"name": "notes", "mountPath": "/notes"}],
    }
    volume = {"name": "notes", "persistentVolumeClaim": {"claimName": "notes"}}
    pod = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 5}
    return {"template": {"spec": pod}, **spec}


def job(real_rollouts: RealRollouts, script: str, **spec: Any) -> Job:
    metadata = {"namespace": "shop", "name": "load"}
    return decode_as(Job, {"metadata": metadata, "spec": job_spec(real_rollouts, script, **spec)})


def cron(real_rollouts: RealRollouts, script: str, **spec: Any) -> CronJob:
    template = {"spec": job_spec(real_rollouts, script, backoffLimit=0)}
    spec = {"schedule": "* * * * *", "jobTemplate": template, **spec}
    return decode_as(CronJob, {"metadata": {"namespace": "shop", "name": "report"}, "spec": spec})


async def until_ended(real_rollouts: RealRollouts, kind: str) -> Job:
    def ended(one: Job) -> bool:
        found = find(one.status.conditions, kind)
        return found is not None and found.is_true

    return await eventually(lambda: real_rollouts.store.get(Job, "shop", "load"), ended)


def reason(ended: Job) -> tuple[str, str]:
    found = find(ended.status.conditions, FAILED)
    return (found.reason, found.message) if found else ("", "")


async def notes(real_rollouts: RealRollouts) -> list[str]:
    path = Path(real_rollouts.podman.data_dir) / "claims" / "shop" / "notes" / "log"
    return path.read_text().splitlines() if path.exists() else []


async def jobs(real_rollouts: RealRollouts) -> Sequence[Job]:
    return (await real_rollouts.store.list(Job)).items


async def until_noted(real_rollouts: RealRollouts, *lines: str) -> None:
    await eventually(lambda: notes(real_rollouts), lambda found: found == list(lines))


async def until_jobs_have_ended(real_rollouts: RealRollouts, count: int) -> Sequence[Job]:
    def ended(found: Sequence[Job]) -> bool:
        return len(found) == count and all(map(finished_at, found))

    return await eventually(lambda: jobs(real_rollouts), ended)


def rest_of_minute(real_rollouts: RealRollouts) -> timedelta:
    now = real_rollouts.clock()
    return MINUTE - timedelta(seconds=now.second, microseconds=now.microsecond)


async def begin_cron(real_rollouts: RealRollouts, script: str, **spec: Any) -> None:
    """Create a CronJob at the start of a minute, so that the next begins when the test says so."""
    real_rollouts.ahead += rest_of_minute(real_rollouts)
    await real_rollouts.store.create(cron(real_rollouts, script, **spec))


async def until_next_minute(real_rollouts: RealRollouts) -> None:
    """Let the time jump to the start of the next minute, for which the CronJob waits."""
    await real_rollouts.pass_time(rest_of_minute(real_rollouts), CronJob, "report")


async def test_as_many_run_at_a_time_as_may_until_all_are_complete(
    real_rollouts: RealRollouts,
) -> None:
    meets = "echo begun >> /notes/log; while ! busybox test -e /notes/go; do sleep 0.05; done"
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(job(real_rollouts, meets, completions=3, parallelism=2))
        lines = await eventually(lambda: notes(real_rollouts), lambda found: len(found) >= 2)
        active = await eventually(
            lambda: real_rollouts.store.get(Job, "shop", "load"), lambda one: one.status.active == 2
        )
        assert (lines, active.status.succeeded) == (["begun"] * 2, 0)
        (Path(real_rollouts.podman.data_dir) / "claims" / "shop" / "notes" / "go").touch()
        ended = await until_ended(real_rollouts, COMPLETE)

        assert (ended.status.succeeded, ended.status.failed) == (3, 0)
        assert ended.status.completed == (0, 1, 2)
        assert await notes(real_rollouts) == ["begun"] * 3
        assert len(await runtime.instances()) == 3, "they stay for their logs"
        await real_rollouts.store.delete(Job, "shop", "load")
        await eventually(runtime.instances, lambda found: not found)


async def test_a_failing_run_is_tried_again_until_its_limit_and_says_its_last_words(
    real_rollouts: RealRollouts,
) -> None:
    async with real_rollouts.serve():
        await real_rollouts.store.create(
            job(real_rollouts, "echo try >> /notes/log; echo no disk; exit 4", backoffLimit=1)
        )
        await eventually(
            lambda: real_rollouts.store.get(Job, "shop", "load"), lambda one: one.status.failed == 1
        )
        await real_rollouts.pass_time(FIRST_BACKOFF, Job, "load")
        ended = await until_ended(real_rollouts, FAILED)

    assert reason(ended)[0] == "BackoffLimitExceeded"
    assert "failed 2 times: container app exited 4" in reason(ended)[1]
    assert "no disk" in reason(ended)[1]
    assert await notes(real_rollouts) == ["try", "try"]


async def test_a_job_whose_time_is_over_is_stopped(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(job(real_rollouts, LASTING, activeDeadlineSeconds=3600))
        await until_noted(real_rollouts, "run")
        await real_rollouts.pass_time(timedelta(hours=1), Job, "load")
        ended = await until_ended(real_rollouts, FAILED)

        assert reason(ended) == ("DeadlineExceeded", "not complete after 3600 s")
        await eventually(runtime.instances, lambda found: not found)
    assert await notes(real_rollouts) == ["run", "stopped"], "it was asked to end"


async def test_another_process_runs_nothing_twice(real_rollouts: RealRollouts) -> None:
    waits = "echo begun >> /notes/log; while ! busybox test -e /notes/go; do sleep 0.05; done"
    async with real_rollouts.serve():
        await real_rollouts.store.create(job(real_rollouts, waits))
        await until_noted(real_rollouts, "begun")
    (Path(real_rollouts.podman.data_dir) / "claims" / "shop" / "notes" / "go").touch()
    async with real_rollouts.serve():
        await until_ended(real_rollouts, COMPLETE)
    assert await notes(real_rollouts) == ["begun"]


async def test_a_cron_job_runs_once_each_minute_and_keeps_the_newest(
    real_rollouts: RealRollouts,
) -> None:
    async with real_rollouts.serve() as runtime:
        script = "echo run >> /notes/log"
        await begin_cron(real_rollouts, script, successfulJobsHistoryLimit=2)
        for count in range(1, 5):
            await until_next_minute(real_rollouts)
            await until_noted(real_rollouts, *["run"] * count)
            names = {one.name for one in await until_jobs_have_ended(real_rollouts, min(count, 2))}
        await eventually(runtime.instances, lambda found: len(found) == 2)

        stored = await real_rollouts.store.get(CronJob, "shop", "report")
        assert stored.status.last_schedule_time is not None
        newest = f"report-{int(stored.status.last_schedule_time.timestamp()) // 60}"
        assert newest in names
        condition = find(stored.status.conditions, SCHEDULED)
        assert condition is not None
        following = stored.status.last_schedule_time.astimezone(UTC) + MINUTE
        assert condition.message == f"next: {following:%Y-%m-%d %H:%M} UTC"


async def test_a_failed_run_is_kept_beside_the_good(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve():
        script = "echo run >> /notes/log; busybox test $(busybox wc -l < /notes/log) = 2"
        await begin_cron(real_rollouts, script)
        for count in range(1, 4):
            await until_next_minute(real_rollouts)
            await until_noted(real_rollouts, *["run"] * count)
            found = await until_jobs_have_ended(real_rollouts, min(count, 2))
    ends = Counter(one.type for job in found for one in job.status.conditions if one.is_true)
    assert (ends[COMPLETE], ends[FAILED]) == (1, 1)


async def test_a_run_that_goes_on_is_waited_for(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve():
        await begin_cron(real_rollouts, LASTING, concurrencyPolicy="Forbid")
        await until_next_minute(real_rollouts)
        await until_noted(real_rollouts, "run")
        await until_next_minute(real_rollouts)

        waiting = await eventually(
            lambda: real_rollouts.store.get(CronJob, "shop", "report"),
            lambda one: "waits: an earlier run is active" in scheduled(one),
        )
        assert len(waiting.status.active) == 1
        assert await notes(real_rollouts) == ["run"]


async def test_a_run_that_goes_on_is_replaced(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve() as runtime:
        await begin_cron(real_rollouts, LASTING, concurrencyPolicy="Replace")
        await until_next_minute(real_rollouts)
        await until_noted(real_rollouts, "run")
        await until_next_minute(real_rollouts)

        lines = await eventually(lambda: notes(real_rollouts), lambda lines: len(lines) == 3)
        assert sorted(lines) == ["run", "run", "stopped"]
        await eventually(runtime.instances, lambda found: len(found) == 1)


async def test_runs_go_on_beside_each_other(real_rollouts: RealRollouts) -> None:
    async with real_rollouts.serve():
        await begin_cron(real_rollouts, LASTING)
        for count in (1, 2):
            await until_next_minute(real_rollouts)
            await until_noted(real_rollouts, *["run"] * count)

        stored = await eventually(
            lambda: real_rollouts.store.get(CronJob, "shop", "report"),
            lambda one: len(one.status.active) == 2,
        )
        assert scheduled(stored).startswith("next: ")


def scheduled(one: CronJob) -> str:
    found = find(one.status.conditions, SCHEDULED)
    return found.message if found else ""
