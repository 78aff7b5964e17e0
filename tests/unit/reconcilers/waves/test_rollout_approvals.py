"""Workloads that follow an imported image whose changes somebody has to approve."""

import json

from tests.support.builds.build_namespace import NAMESPACE
from tests.support.builds.memory_builds import until
from tests.support.waves.fleet import Fleet, debian

from upwell.api.apps import CronJob
from upwell.api.codec import decode_as
from upwell.api.waves.wave import Wave, WaveDecision
from upwell.policy.waves.approval import ApprovalRules
from upwell.policy.waves.decisions import approved
from upwell.policy.waves.progress import WaveRules
from upwell.store.retry import update_with_retry


async def test_a_workload_gets_an_imported_image_when_its_wave_is_approved() -> None:
    fleet = Fleet(WaveRules(approvals=ApprovalRules(all_images=True)))
    await fleet.imports("old")
    await fleet.deployment("prod", "web", serves=debian("old"))
    await fleet.follow()
    fleet.clock.advance(3600)
    async with fleet.served():
        await fleet.imports("new", look=False)

        async def waits() -> bool:
            return (await fleet.condition("prod", "web")).reason == "WaveApproval"

        async def has_it() -> bool:
            return await fleet.set_now() == ["prod/web"]

        async def is_told() -> bool:
            held = [one.reason for wave in await fleet.waves_now() for one in wave.status.held]
            return any("`upwell wave approve" in one for one in held)

        await until(waits)
        await until(is_told)
        assert await fleet.set_now() == []
        [wave] = await fleet.waves_now()
        given = WaveDecision(by="ada", at=fleet.clock())
        status = wave.status.model_copy(update={"approval": given})
        await fleet.store.update_status(wave.with_status(status))
        await until(has_it)


async def test_what_joins_starts_with_an_image_that_nobody_has_approved() -> None:
    fleet = Fleet(WaveRules(approvals=ApprovalRules(all_images=True)))
    await fleet.imports("old")
    await fleet.deployment("prod", "web", serves=debian("old"))
    fleet.clock.advance(3600)
    await fleet.imports("new")
    await fleet.deployment("prod", "new")
    assert await fleet.follow() == ["prod/new"]


async def test_a_workload_that_waits_has_a_wave_to_approve_also_if_that_is_deleted() -> None:
    fleet = Fleet(WaveRules(approvals=ApprovalRules(all_images=True)))
    await fleet.imports("old")
    await fleet.imports("new")
    assert await fleet.waves_now() == [], "nothing follows it"
    fleet.clock.advance(7 * 86_400)
    await fleet.deployment("prod", "web", serves=debian("old"))
    async with fleet.served():

        async def is_told() -> bool:
            conditions = (await fleet.get_workload("prod", "web")).status.conditions
            text = " ".join(one.message or "" for one in conditions)
            names = [one.name for one in await fleet.waves_now()]
            return any(f"`upwell wave approve {one}`" in text for one in names)

        async def is_gone() -> bool:
            return not any(one.uid == wave.uid for one in await fleet.waves_now())

        async def has_it() -> bool:
            return await fleet.set_now() == ["prod/web"]

        await until(is_told)
        [wave] = await fleet.waves_now()
        await fleet.store.delete(Wave, "", wave.name)
        await until(is_gone)
        await until(is_told)
        assert await fleet.set_now() == []
        [wave] = await fleet.waves_now()
        given = WaveDecision(by="ada", at=fleet.clock())

        async def write(found: Wave) -> Wave:
            return await fleet.store.update_status(approved(found, given))

        await update_with_retry(lambda: fleet.store.get(Wave, "", wave.name), write)
        await until(has_it)


async def test_a_cron_job_that_alone_follows_an_image_has_a_wave_to_approve() -> None:
    fleet = Fleet(WaveRules(approvals=ApprovalRules(all_images=True)))
    await fleet.imports("old")
    tag = {"kind": "ImageStreamTag", "name": "debian:latest", "namespace": NAMESPACE}
    path = 'spec.jobTemplate.spec.template.spec.containers[?(@.name=="app")].image'
    triggers = json.dumps([{"from": tag, "fieldPath": path}])
    annotations = {"image.openshift.io/triggers": triggers}
    pod = {"restartPolicy": "Never", "containers": [{"name": "app", "image": debian("old")}]}
    job = {"spec": {"template": {"spec": pod}}}
    document = {
        "metadata": {"namespace": "prod", "name": "tick", "annotations": annotations},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": job},
    }
    await fleet.store.create(decode_as(CronJob, document))
    await fleet.imports("new")

    async def image() -> str:
        found = await fleet.store.get(CronJob, "prod", "tick")
        return found.spec.job_template.spec.template.spec.containers[0].image or ""

    async with fleet.served():

        async def has_a_wave() -> bool:
            return bool(await fleet.waves_now())

        async def has_it() -> bool:
            return await image() == debian("new")

        await until(has_a_wave)
        assert await image() == debian("old")
        [wave] = await fleet.waves_now()
        given = WaveDecision(by="ada", at=fleet.clock())

        async def write(found: Wave) -> Wave:
            return await fleet.store.update_status(approved(found, given))

        await update_with_retry(lambda: fleet.store.get(Wave, "", wave.name), write)
        await until(has_it)
