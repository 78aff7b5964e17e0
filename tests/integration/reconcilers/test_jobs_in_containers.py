"""Jobs and CronJobs in real containers; the reconcilers' time is moved on instead of waited for.

Runs write what they do into one claim, in the order in which it happens.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from tests.support.rollouts.real_machine import Site, podman_home, site
from tests.support.workload.waiting import eventually

from upwell.api.apps import CronJob, Job
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.policy.rollouts.steps import FIRST_BACKOFF
from upwell.reconcilers.jobs.cron_jobs import SCHEDULED
from upwell.reconcilers.jobs.jobs import COMPLETE, FAILED, finished_at

__all__ = ["podman_home", "site"]  # fixtures

MINUTE = timedelta(minutes=1)
LASTING = "trap 'echo stopped >> /notes/log; exit' TERM; echo run >> /notes/log; sleep 600 & wait"


def job_spec(site: Site, script: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": str(site.image),
        "command": ["/bin/busybox", "sh", "-c", script],
        "volumeMounts": [{"name": "notes", "mountPath": "/notes"}],
    }
    volume = {"name": "notes", "persistentVolumeClaim": {"claimName": "notes"}}
    pod = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 5}
    return {"template": {"spec": pod}, **spec}


def job(site: Site, script: str, **spec: Any) -> Job:
    metadata = {"namespace": "shop", "name": "load"}
    return decode_as(Job, {"metadata": metadata, "spec": job_spec(site, script, **spec)})


def cron(site: Site, script: str, **spec: Any) -> CronJob:
    template = {"spec": job_spec(site, script, backoffLimit=0)}
    spec = {"schedule": "* * * * *", "jobTemplate": template, **spec}
    return decode_as(CronJob, {"metadata": {"namespace": "shop", "name": "report"}, "spec": spec})


async def until_ended(site: Site, kind: str) -> Job:
    def ended(one: Job) -> bool:
        found = find(one.status.conditions, kind)
        return found is not None and found.is_true

    return await eventually(lambda: site.store.get(Job, "shop", "load"), ended)


def reason(ended: Job) -> tuple[str, str]:
    found = find(ended.status.conditions, FAILED)
    return (found.reason, found.message) if found else ("", "")


async def notes(site: Site) -> list[str]:
    path = Path(site.podman.data_dir) / "claims" / "shop" / "notes" / "log"
    return path.read_text().splitlines() if path.exists() else []


async def jobs(site: Site) -> Sequence[Job]:
    return (await site.store.list(Job)).items


async def until_noted(site: Site, *lines: str) -> None:
    await eventually(lambda: notes(site), lambda found: found == list(lines))


async def until_jobs_have_ended(site: Site, count: int) -> Sequence[Job]:
    def ended(found: Sequence[Job]) -> bool:
        return len(found) == count and all(map(finished_at, found))

    return await eventually(lambda: jobs(site), ended)


def rest_of_minute(site: Site) -> timedelta:
    now = site.clock()
    return MINUTE - timedelta(seconds=now.second, microseconds=now.microsecond)


async def begin_cron(site: Site, script: str, **spec: Any) -> None:
    """Create a CronJob at the start of a minute, so that the next begins when the test says so."""
    site.ahead += rest_of_minute(site)
    await site.store.create(cron(site, script, **spec))


async def until_next_minute(site: Site) -> None:
    """Let the time jump to the start of the next minute, for which the CronJob waits."""
    await site.pass_time(rest_of_minute(site), CronJob, "report")


async def test_as_many_run_at_a_time_as_may_until_all_are_complete(site: Site) -> None:
    meets = "echo begun >> /notes/log; while ! busybox test -e /notes/go; do sleep 0.05; done"
    async with site.serve() as runtime:
        await site.store.create(job(site, meets, completions=3, parallelism=2))
        lines = await eventually(lambda: notes(site), lambda found: len(found) >= 2)
        active = await eventually(
            lambda: site.store.get(Job, "shop", "load"), lambda one: one.status.active == 2
        )
        assert (lines, active.status.succeeded) == (["begun"] * 2, 0)
        (Path(site.podman.data_dir) / "claims" / "shop" / "notes" / "go").touch()
        ended = await until_ended(site, COMPLETE)

        assert (ended.status.succeeded, ended.status.failed) == (3, 0)
        assert ended.status.completed == (0, 1, 2)
        assert await notes(site) == ["begun"] * 3
        assert len(await runtime.instances()) == 3, "they stay for their logs"
        await site.store.delete(Job, "shop", "load")
        await eventually(runtime.instances, lambda found: not found)


async def test_a_failing_run_is_tried_again_until_its_limit_and_says_its_last_words(
    site: Site,
) -> None:
    async with site.serve():
        await site.store.create(
            job(site, "echo try >> /notes/log; echo no disk; exit 4", backoffLimit=1)
        )
        await eventually(
            lambda: site.store.get(Job, "shop", "load"), lambda one: one.status.failed == 1
        )
        await site.pass_time(FIRST_BACKOFF, Job, "load")
        ended = await until_ended(site, FAILED)

    assert reason(ended)[0] == "BackoffLimitExceeded"
    assert "failed 2 times: container app exited 4" in reason(ended)[1]
    assert "no disk" in reason(ended)[1]
    assert await notes(site) == ["try", "try"]


async def test_a_job_whose_time_is_over_is_stopped(site: Site) -> None:
    async with site.serve() as runtime:
        await site.store.create(job(site, LASTING, activeDeadlineSeconds=3600))
        await until_noted(site, "run")
        await site.pass_time(timedelta(hours=1), Job, "load")
        ended = await until_ended(site, FAILED)

        assert reason(ended) == ("DeadlineExceeded", "not complete after 3600 s")
        await eventually(runtime.instances, lambda found: not found)
    assert await notes(site) == ["run", "stopped"], "it was asked to end"


async def test_another_process_runs_nothing_twice(site: Site) -> None:
    waits = "echo begun >> /notes/log; while ! busybox test -e /notes/go; do sleep 0.05; done"
    async with site.serve():
        await site.store.create(job(site, waits))
        await until_noted(site, "begun")
    (Path(site.podman.data_dir) / "claims" / "shop" / "notes" / "go").touch()
    async with site.serve():
        await until_ended(site, COMPLETE)
    assert await notes(site) == ["begun"]


async def test_a_cron_job_runs_once_each_minute_and_keeps_the_newest(site: Site) -> None:
    async with site.serve() as runtime:
        script = "echo run >> /notes/log"
        await begin_cron(site, script, successfulJobsHistoryLimit=2)
        for count in range(1, 5):
            await until_next_minute(site)
            await until_noted(site, *["run"] * count)
            names = {one.name for one in await until_jobs_have_ended(site, min(count, 2))}
        await eventually(runtime.instances, lambda found: len(found) == 2)

        stored = await site.store.get(CronJob, "shop", "report")
        assert stored.status.last_schedule_time is not None
        newest = f"report-{int(stored.status.last_schedule_time.timestamp()) // 60}"
        assert newest in names
        condition = find(stored.status.conditions, SCHEDULED)
        assert condition is not None
        following = stored.status.last_schedule_time.astimezone(UTC) + MINUTE
        assert condition.message == f"next: {following:%Y-%m-%d %H:%M} UTC"


async def test_a_failed_run_is_kept_beside_the_good(site: Site) -> None:
    async with site.serve():
        script = "echo run >> /notes/log; busybox test $(busybox wc -l < /notes/log) = 2"
        await begin_cron(site, script)
        for count in range(1, 4):
            await until_next_minute(site)
            await until_noted(site, *["run"] * count)
            found = await until_jobs_have_ended(site, min(count, 2))
    ends = Counter(one.type for job in found for one in job.status.conditions if one.is_true)
    assert (ends[COMPLETE], ends[FAILED]) == (1, 1)


async def test_a_run_that_goes_on_is_waited_for(site: Site) -> None:
    async with site.serve():
        await begin_cron(site, LASTING, concurrencyPolicy="Forbid")
        await until_next_minute(site)
        await until_noted(site, "run")
        await until_next_minute(site)

        waiting = await eventually(
            lambda: site.store.get(CronJob, "shop", "report"),
            lambda one: "waits: an earlier run is active" in scheduled(one),
        )
        assert len(waiting.status.active) == 1
        assert await notes(site) == ["run"]


async def test_a_run_that_goes_on_is_replaced(site: Site) -> None:
    async with site.serve() as runtime:
        await begin_cron(site, LASTING, concurrencyPolicy="Replace")
        await until_next_minute(site)
        await until_noted(site, "run")
        await until_next_minute(site)

        lines = await eventually(lambda: notes(site), lambda lines: len(lines) == 3)
        assert sorted(lines) == ["run", "run", "stopped"]
        await eventually(runtime.instances, lambda found: len(found) == 1)


async def test_runs_go_on_beside_each_other(site: Site) -> None:
    async with site.serve():
        await begin_cron(site, LASTING)
        for count in (1, 2):
            await until_next_minute(site)
            await until_noted(site, *["run"] * count)

        stored = await eventually(
            lambda: site.store.get(CronJob, "shop", "report"),
            lambda one: len(one.status.active) == 2,
        )
        assert scheduled(stored).startswith("next: ")


def scheduled(one: CronJob) -> str:
    found = find(one.status.conditions, SCHEDULED)
    return found.message if found else ""
