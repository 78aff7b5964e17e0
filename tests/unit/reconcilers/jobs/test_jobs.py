"""Jobs and CronJobs over a store and a runtime in memory."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import CRASHING, GOOD, RolloutSetup
from tests.support.store.mortal_store import KilledError

from upwell.api.apps import CronJob, Job
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.controller import ObjectCache
from upwell.machine.disk import DiskPressureError
from upwell.oci import Digest
from upwell.policy.health.judgement import faults_of
from upwell.policy.rollouts.instance import instance_name
from upwell.policy.rollouts.pod_template import template_hash
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.cron_jobs import CronJobReconciler
from upwell.reconcilers.jobs.jobs import JobReconciler
from upwell.reconcilers.rollouts import TemplateImages
from upwell.registry.errors import ManifestUnknownError
from upwell.store.interface import NotFoundError
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import Owner

KEY = ObjectKey("Job", "shop", "load")


def job(image: str = GOOD, **spec: Any) -> Job:
    template = {"spec": {"containers": [{"name": "app", "image": image}]}}
    return decode_as(
        Job,
        {"metadata": {"namespace": "shop", "name": "load"}, "spec": {"template": template, **spec}},
    )


class Jobs:
    """The two reconcilers of a World; `restart` is another process."""

    def __init__(self, setup: RolloutSetup) -> None:
        self.setup = setup
        self.restart()

    def restart(self) -> None:
        setup = self.setup
        insecure = InsecureRegistries(setup.store)
        images = TemplateImages(setup.registry, PullSecrets(setup.store), insecure)
        self.jobs = JobReconciler(setup.store, setup.machine, images, setup.clock)
        self.crons = CronJobReconciler(ObjectCache(setup.store), setup.clock)

    async def pass_by(self, seconds: float, step: float = 1) -> None:
        end = self.setup.clock() + timedelta(seconds=seconds)
        while self.setup.clock() < end:
            for cron in (await self.setup.store.list(CronJob)).items:
                await self.crons.reconcile(cron.key)
            owners = {instance.owner for instance in await self.setup.runtime.instances()}
            keys = {found.key for found in (await self.setup.store.list(Job)).items}
            for key in keys | {ObjectKey(one.kind, one.namespace, one.name) for one in owners}:
                with suppress(RuntimeUnavailableError):  # the queue tries it again
                    await self.jobs.reconcile(key)
            self.setup.runtime.turn()
            self.setup.clock.advance(step)

    async def all(self) -> list[Job]:
        return list((await self.setup.store.list(Job)).items)

    async def one(self) -> Job:
        return await self.setup.store.get(Job, "shop", "load")


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(RolloutSetup())


async def test_a_job_runs_as_often_as_it_says_and_keeps_its_instances_for_their_logs(
    jobs: Jobs,
) -> None:
    await jobs.setup.apply(job(completions=3, parallelism=2))
    await jobs.pass_by(10)

    status = (await jobs.one()).status
    assert (status.succeeded, status.failed, status.completed) == (3, 0, (0, 1, 2))
    assert status.completion_time is not None
    assert status.images == {"app": GOOD}
    assert jobs.setup.runtime.ran == ["job"] * 3
    assert len(jobs.setup.runtime.names()) == 3


async def test_its_pods_have_its_labels_and_the_names_that_the_template_alone_gives_them(
    jobs: Jobs,
) -> None:
    await jobs.setup.apply(job())
    await jobs.pass_by(10)

    stored = await jobs.one()
    (instance,) = await jobs.setup.runtime.instances()
    assert stored.spec.selector["matchLabels"].items() <= instance.labels.items()
    assert instance.labels["job-name"] == "load"
    declared = job(image=GOOD).spec.template
    assert instance.name == instance_name(stored, template_hash(declared), 0)


@pytest.mark.parametrize("kill_at", range(1, 6))
async def test_a_killed_server_runs_nothing_twice(jobs: Jobs, kill_at: int) -> None:
    await jobs.setup.apply(job(completions=2))
    jobs.setup.kill_at = kill_at
    try:
        await jobs.pass_by(20)
    except KilledError:
        jobs.restart()
        await jobs.pass_by(20)

    assert (await jobs.one()).status.succeeded == 2
    assert jobs.setup.runtime.ran == ["job", "job"]


async def test_a_failing_job_is_tried_again_until_its_limit(jobs: Jobs) -> None:
    jobs.setup.runtime.exits["job"] = [1]
    await jobs.setup.apply(job(backoffLimit=2))
    await jobs.pass_by(120)

    failed = await jobs.one()
    assert (failed.status.failed, jobs.setup.runtime.ran) == (3, ["job"] * 3)
    condition = find(failed.status.conditions, "Failed")
    assert condition is not None
    assert (condition.reason, condition.message) == (
        "BackoffLimitExceeded",
        "failed 3 times: exited 1",
    )


async def test_a_start_that_the_runtime_could_not_finish_is_no_failure(jobs: Jobs) -> None:
    jobs.setup.runtime.cut_short = RuntimeUnavailableError("Podman's service ended")
    await jobs.setup.apply(job(backoffLimit=0))
    await jobs.pass_by(20)
    assert (await jobs.one()).status.failed == 0

    jobs.setup.runtime.cut_short = None
    await jobs.pass_by(20)
    assert (await jobs.one()).status.succeeded == 1


async def test_a_start_that_the_runtime_refused_is_one(jobs: Jobs) -> None:
    jobs.setup.runtime.start_error = "container app: no /bin/x"
    jobs.setup.runtime.cut_short = RuntimeUnavailableError("no /bin/x")
    await jobs.setup.apply(job(backoffLimit=0))
    await jobs.pass_by(20)

    condition = find((await jobs.one()).status.conditions, "Failed")
    assert condition is not None
    assert condition.message == "failed 1 times: container app: no /bin/x"


async def test_one_of_a_cron_job_is_a_fault_until_a_newer_run_has_succeeded(jobs: Jobs) -> None:
    container = {"name": "app", "image": GOOD}
    template = {"template": {"spec": {"containers": [container]}}, "backoffLimit": 0}
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": template}}
    metadata = {"namespace": "shop", "name": "load"}
    jobs.setup.runtime.exits["job"] = [1]
    await jobs.setup.apply(decode_as(CronJob, {"metadata": metadata, "spec": spec}))
    await jobs.pass_by(100)
    faulty = [one for one in await jobs.all() if faults_of(one)]
    assert [fault.reason for fault in faults_of(faulty[0])] == ["BackoffLimitExceeded"]

    jobs.setup.runtime.exits["job"] = [0]
    await jobs.pass_by(100)
    assert [one for one in await jobs.all() if faults_of(one)] == []
    failed = [one for one in await jobs.all() if find(one.status.conditions, "Failed")]
    [condition] = [find(one.status.conditions, "Superseded") for one in failed]
    assert condition is not None
    assert "has succeeded after it" in condition.message


async def test_one_whose_image_cannot_be_had_says_so_until_it_is_there(jobs: Jobs) -> None:
    tag = "registry.test/app:soon"
    await jobs.setup.apply(job(image=tag))
    with suppress(ManifestUnknownError):  # the queue tries it again
        await jobs.jobs.reconcile(KEY)
    missing = find((await jobs.one()).status.conditions, "ImagesAvailable")
    assert missing is not None
    assert (missing.status, missing.reason) == ("False", "ManifestUnknown")
    assert tag in missing.message

    jobs.setup.registry.tagged[tag] = Digest.of(b"good")
    await jobs.pass_by(5)
    assert (await jobs.one()).status.succeeded == 1
    assert find((await jobs.one()).status.conditions, "ImagesAvailable") is None


async def test_one_that_needs_an_image_waits_for_room(jobs: Jobs) -> None:
    jobs.setup.pressure = "/data has 3 MiB free of 100 MiB"
    jobs.restart()
    await jobs.setup.apply(job())
    with pytest.raises(DiskPressureError, match="3 MiB free"):
        await jobs.pass_by(5)
    started = find((await jobs.one()).status.conditions, "Started")
    assert started is not None
    assert (started.status, started.reason) == ("False", "DiskPressure")
    assert jobs.setup.runtime.ran == []
    jobs.setup.pressure = ""
    await jobs.pass_by(10)
    assert (await jobs.one()).status.succeeded == 1


async def test_one_that_has_its_image_runs_again_without_room(jobs: Jobs) -> None:
    jobs.setup.runtime.exits["job"] = [1]
    await jobs.setup.apply(job(backoffLimit=1))
    await jobs.pass_by(5)
    jobs.setup.pressure = "/data has 3 MiB free of 100 MiB"
    await jobs.pass_by(60)
    assert (await jobs.one()).status.failed == 2


async def test_a_job_that_takes_too_long_is_ended(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job(activeDeadlineSeconds=30))
    await jobs.pass_by(20)
    assert (await jobs.one()).status.active == 1
    await jobs.pass_by(20)

    condition = find((await jobs.one()).status.conditions, "Failed")
    assert condition is not None
    assert condition.reason == "DeadlineExceeded"
    assert jobs.setup.runtime.names() == []


async def test_a_run_that_the_machine_lost_runs_again_and_is_no_failure(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job(backoffLimit=0))
    await jobs.pass_by(5)
    [name] = jobs.setup.runtime.names()
    jobs.setup.runtime.lose(name)
    await jobs.pass_by(2)
    assert jobs.setup.runtime.ran == ["job"] * 2

    jobs.setup.runtime.lose(name)
    await jobs.pass_by(3)
    assert jobs.setup.runtime.ran == ["job"] * 2, "in a row it waits"
    started = find((await jobs.one()).status.conditions, "Started")
    assert started is not None
    assert started.message == "how it ended is unknown"

    jobs.setup.runtime.lasting.clear()
    await jobs.pass_by(20)
    status = (await jobs.one()).status
    assert (status.succeeded, status.failed) == (1, 0)
    assert jobs.setup.runtime.ran == ["job"] * 3


async def test_no_time_in_which_the_machine_was_at_fault_counts(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job(activeDeadlineSeconds=30))
    await jobs.pass_by(20)
    jobs.setup.runtime.watched_since = jobs.setup.clock()
    await jobs.pass_by(29)
    assert (await jobs.one()).status.active == 1
    await jobs.pass_by(5)
    assert find((await jobs.one()).status.conditions, "Failed") is not None


async def test_a_suspended_job_waits_and_goes_on(jobs: Jobs) -> None:
    created = await jobs.setup.apply(job(suspend=True))
    await jobs.pass_by(5)
    assert jobs.setup.runtime.ran == []

    current = await jobs.one()
    spec = created.spec.model_copy(update={"suspend": False})
    await jobs.setup.store.update(current.model_copy(update={"spec": spec}))
    await jobs.pass_by(5)
    assert (await jobs.one()).status.succeeded == 1


async def test_a_finished_job_goes_after_its_time_with_all_that_it_left(jobs: Jobs) -> None:
    await jobs.setup.apply(job(ttlSecondsAfterFinished=60))
    await jobs.pass_by(50)
    assert (await jobs.one()).status.succeeded == 1
    await jobs.pass_by(20)

    with pytest.raises(NotFoundError):
        await jobs.one()
    assert jobs.setup.runtime.names() == []


async def test_rollouts_leave_the_instances_of_jobs_alone(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job())
    await jobs.pass_by(3)
    await jobs.setup.rollouts.reconcile(KEY)

    assert [one.owner for one in await jobs.setup.runtime.instances()] == [
        Owner("Job", "shop", "load")
    ]


def cron(image: str = GOOD, **spec: Any) -> CronJob:
    template = {"spec": {"containers": [{"name": "app", "image": image}]}}
    return decode_as(
        CronJob,
        {
            "metadata": {"namespace": "shop", "name": "report"},
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": {"spec": {"template": template, "backoffLimit": 0}},
                **spec,
            },
        },
    )


async def test_a_cron_job_runs_every_minute_and_keeps_the_newest(jobs: Jobs) -> None:
    await jobs.setup.apply(cron())
    await jobs.pass_by(6 * 60, step=5)

    found = await jobs.all()
    assert len(found) == 3
    assert len(jobs.setup.runtime.ran) == 5
    stored = await jobs.setup.store.get(CronJob, "shop", "report")
    assert stored.status.last_successful_time is not None


async def test_a_long_absence_is_made_up_for_once(jobs: Jobs) -> None:
    await jobs.setup.apply(cron())
    await jobs.pass_by(90, step=5)
    jobs.setup.clock.advance(24 * 3600)
    jobs.restart()
    await jobs.pass_by(20)

    assert len(jobs.setup.runtime.ran) == 2


async def test_a_run_that_goes_on_is_waited_for_or_replaced(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(cron(concurrencyPolicy="Forbid"))
    await jobs.pass_by(200, step=5)
    assert jobs.setup.runtime.ran == ["job"]

    current = await jobs.setup.store.get(CronJob, "shop", "report")
    spec = current.spec.model_copy(update={"concurrency_policy": "Replace"})
    await jobs.setup.store.update(current.model_copy(update={"spec": spec}))
    await jobs.pass_by(60, step=5)
    assert len(jobs.setup.runtime.ran) > 1
    assert len(jobs.setup.runtime.names()) == 1


async def test_one_failed_run_is_kept(jobs: Jobs) -> None:
    jobs.setup.runtime.exits["job"] = [1]
    await jobs.setup.apply(cron(CRASHING))
    await jobs.pass_by(4 * 60, step=5)

    assert len(await jobs.all()) == 1


async def test_a_cron_job_goes_with_its_jobs(jobs: Jobs) -> None:
    await jobs.setup.apply(cron())
    await jobs.pass_by(150, step=5)
    await jobs.setup.store.delete(CronJob, "shop", "report")
    await jobs.pass_by(5)

    assert await jobs.all() == []
    assert jobs.setup.runtime.names() == []


DAY = 24 * 3600


async def test_a_cron_job_goes_on_when_the_clock_is_set_back_a_day(jobs: Jobs) -> None:
    await jobs.setup.apply(cron())
    await jobs.pass_by(90, step=5)
    ran = len(jobs.setup.runtime.ran)
    jobs.setup.clock.advance(-DAY)
    await jobs.pass_by(125, step=5)

    assert len(jobs.setup.runtime.ran) == ran + 2


async def test_a_deadline_of_a_job_that_began_tomorrow_still_passes(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job(activeDeadlineSeconds=30))
    await jobs.pass_by(5)
    jobs.setup.clock.advance(-DAY)
    await jobs.pass_by(20)
    assert (await jobs.one()).status.active == 1
    await jobs.pass_by(20)

    condition = find((await jobs.one()).status.conditions, "Failed")
    assert condition is not None
    assert condition.reason == "DeadlineExceeded"


async def test_a_job_that_ended_tomorrow_is_kept_no_longer_for_it(jobs: Jobs) -> None:
    await jobs.setup.apply(job(ttlSecondsAfterFinished=60))
    await jobs.pass_by(50)
    jobs.setup.clock.advance(-DAY)
    await jobs.pass_by(3)

    with pytest.raises(NotFoundError):
        await jobs.one()


async def test_a_run_that_takes_its_time_to_stop_holds_nothing_up(jobs: Jobs) -> None:
    jobs.setup.runtime.lasting.add("job")
    await jobs.setup.apply(job(activeDeadlineSeconds=5))
    await jobs.pass_by(2)
    [name] = jobs.setup.runtime.names()
    jobs.setup.runtime.stubborn[name] = asyncio.Event()

    await jobs.pass_by(10)
    failed = find((await jobs.one()).status.conditions, "Failed")
    assert failed is not None
    assert failed.reason == "DeadlineExceeded"
    await jobs.setup.store.delete(Job, "shop", "load")
    await jobs.pass_by(5)
    assert (await jobs.one()).is_deleting

    jobs.setup.runtime.stubborn.pop(name).set()
    await asyncio.wait(jobs.jobs._stops._tasks.values())
    await jobs.pass_by(5)
    assert await jobs.all() == []
    assert jobs.setup.runtime.names() == []
