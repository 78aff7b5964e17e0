"""Promotions onto workloads of a cluster: set, judged, put back, or left to whoever owns them."""

import json

import pytest
from tests.support.promotion.cluster_pipeline import DECLARED, ClusterPipeline
from tests.support.promotion.reconciled_pipeline import NAMESPACE, image

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.api.meta import Condition
from upwell.api.pipeline import Pipeline
from upwell.cluster.errors import AccessDeniedError, ClusterUnavailableError
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

DEV, PRODUCTION = "dev-shop", "production-shop"
STAGES = ({"name": "dev"}, {"name": "production"})


@pytest.fixture
async def pipelines() -> ClusterPipeline:
    """A Pipeline of two stages whose first Release is in both."""
    pipelines = ClusterPipeline()
    await pipelines.pipeline(*(dict(one) for one in STAGES))
    await pipelines.push("one")
    await pipelines.settle()
    return pipelines


async def degraded(pipelines: ClusterPipeline) -> Condition:
    """Return the Pipeline's condition."""
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    found = find(pipeline.status.conditions, "Degraded")
    assert found is not None
    return found


async def waits_for(pipelines: ClusterPipeline, stage: str) -> str:
    """Return what a stage of the Pipeline waits for."""
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    return pipeline.status.stage(stage).waits_for


async def test_a_release_goes_through_all_stages_in_one_write_each(
    pipelines: ClusterPipeline,
) -> None:
    writes = pipelines.cluster.writes
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.production"] == "Succeeded"
    for name in (DEV, PRODUCTION):
        assert await pipelines.running(name) == image("two")
    assert pipelines.cluster.writes == writes + 2
    workload = await pipelines.store.get(Deployment, NAMESPACE, PRODUCTION)
    assert json.loads(workload.annotations[PROMOTED_ANNOTATION])["release"] == "shop-2"


async def test_the_next_leader_tells_once_of_images_that_the_last_one_has_set(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.cluster.told.clear()
    pipelines.cluster.mute = ClusterUnavailableError("the connection was lost")
    await pipelines.push("two")
    await pipelines.settle()
    pipelines.cluster.mute = None
    assert pipelines.cluster.told == []

    for _ in range(2):
        pipelines.fail_over()
        for name in (DEV, PRODUCTION):
            pipelines.clock.advance(seconds=1)  # they are told one after the other
            await pipelines.roll_out(await pipelines.store.get(Deployment, NAMESPACE, name))

    written = [one for one in pipelines.cluster.told if one.reason == "ImageUpdated"]
    told = [(one.workload.name, one.message) for one in written]
    assert told == [(name, f"set web = {image('two')}") for name in (DEV, PRODUCTION)]


async def test_a_leader_asks_once_for_the_event_of_each_write(pipelines: ClusterPipeline) -> None:
    asked = pipelines.cluster.events_asked
    await pipelines.push("two")
    await pipelines.settle()
    for name in (DEV, PRODUCTION):  # where another part of it looks at the same writes
        pipelines.clock.advance(seconds=1)
        await pipelines.roll_out(await pipelines.store.get(Deployment, NAMESPACE, name))
    assert pipelines.cluster.events_asked - asked == 2


async def test_an_image_that_gets_stuck_is_put_back_and_never_reaches_production(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.broken.add(image("two"))
    await pipelines.push("two")
    await pipelines.settle()
    phases = await pipelines.phases()
    assert phases["shop-2.dev"] == "Failed"
    assert "shop-2.production" not in phases
    message = (await pipelines.promotion("shop-2.dev")).status.message
    assert "no progress for 60 s" in message
    assert "shop-1 was restored" in message
    assert await pipelines.running(DEV) == image("one")
    assert await pipelines.running(PRODUCTION) == image("one")


async def test_the_first_release_that_fails_gives_way_to_what_ran_before() -> None:
    pipelines = ClusterPipeline()
    pipelines.broken.add(image("one"))
    await pipelines.pipeline(*(dict(one) for one in STAGES))
    await pipelines.push("one")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-1.dev"] == "Failed"
    assert await pipelines.running(DEV) == DECLARED


async def test_failed_checks_put_the_last_good_release_back(pipelines: ClusterPipeline) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.FAILED
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert await pipelines.running(DEV) == image("one")
    assert (await pipelines.note(DEV))["good"] == {"web": image("one")}


async def test_what_crashes_while_it_is_verified_fails_the_promotion(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.RUNNING
    await pipelines.push("two")
    await pipelines.settle()
    await pipelines.crash(DEV)
    await pipelines.settle()
    assert "has crashed 4 times" in (await pipelines.promotion("shop-2.dev")).status.message
    assert await pipelines.running(DEV) == image("one")


async def test_a_manifest_that_is_applied_again_gets_the_release_again(
    pipelines: ClusterPipeline,
) -> None:
    await pipelines.apply(PRODUCTION)
    assert await pipelines.running(PRODUCTION) == DECLARED
    await pipelines.settle()
    assert await pipelines.running(PRODUCTION) == image("one")
    assert (await pipelines.phases())["shop-1.production"] == "Succeeded"


@pytest.mark.parametrize("manager", ["kubectl-set", "argocd-controller"])
async def test_an_image_that_somebody_else_owns_is_a_condition_and_stays(
    pipelines: ClusterPipeline, manager: str
) -> None:
    await pipelines.set_by(manager, PRODUCTION, "registry.test/other@sha256:" + "0" * 64)
    await pipelines.push("two")
    await pipelines.settle()
    assert await pipelines.running(DEV) == image("two")
    assert (await pipelines.running(PRODUCTION)).startswith("registry.test/other")
    assert (await pipelines.phases())["shop-2.production"] == "Waiting"
    condition = await degraded(pipelines)
    assert (condition.status, condition.reason) == ("True", "FieldConflict")
    assert f"owned by field manager {manager}" in condition.message
    assert "keep the stage in git (`git`)" in condition.message
    assert manager in await waits_for(pipelines, "production")

    await pipelines.apply(PRODUCTION)
    await pipelines.settle()

    assert await pipelines.running(PRODUCTION) == image("two")


async def test_an_image_that_is_taken_in_mid_promotion_says_nothing_about_the_release(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.slow = True
    await pipelines.push("two")
    await pipelines.settle()
    await pipelines.set_by("kubectl-set", DEV, "registry.test/other@sha256:" + "0" * 64)
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Superseded"
    assert (await pipelines.release("shop-2")).status.rejection is None
    assert (await pipelines.running(DEV)).startswith("registry.test/other")


async def test_a_held_workload_keeps_its_images(pipelines: ClusterPipeline) -> None:
    found = await pipelines.store.get(Deployment, NAMESPACE, DEV)
    annotations = {**found.annotations, HOLD_ANNOTATION: "freeze"}
    await pipelines.store.update(found.with_metadata(annotations=annotations))
    await pipelines.push("two")
    await pipelines.settle()
    assert await pipelines.running(DEV) == image("one")
    assert "freeze" in await waits_for(pipelines, "dev")


async def test_what_admission_changes_is_not_promoted(pipelines: ClusterPipeline) -> None:
    pipelines.cluster.admission = "registry.test/other@sha256:" + "0" * 64
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert "admission changed web" in (await pipelines.promotion("shop-2.dev")).status.message


async def test_a_right_that_is_missing_is_what_the_promotion_waits_for(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.cluster.fault = AccessDeniedError('cannot patch resource "deployments"')
    await pipelines.push("two")
    await pipelines.settle()
    promotion = await pipelines.promotion("shop-2.dev")
    assert promotion.status.phase.value == "RollingOut"
    assert 'cannot patch resource "deployments"' in promotion.status.message
    [event] = [one for one in pipelines.cluster.told if one.reason == "Forbidden"]
    assert event.is_warning
    assert 'cannot patch resource "deployments"; set web = ' in event.message
    pipelines.cluster.fault = None
    await pipelines.settle()
    assert await pipelines.running(DEV) == image("two")


async def test_the_workloads_of_namespaces_that_are_not_followed_are_left_alone() -> None:
    pipelines = ClusterPipeline(followed="elsewhere")
    await pipelines.pipeline({"name": "dev"})
    await pipelines.push("one")
    await pipelines.settle()
    assert "[kubernetes]" in await waits_for(pipelines, "dev")
    assert await pipelines.running(DEV) == DECLARED


async def test_a_release_that_failed_here_is_tried_again_when_a_person_says_so(
    pipelines: ClusterPipeline,
) -> None:
    pipelines.broken.add(image("two"))
    await pipelines.push("two")
    await pipelines.settle()
    pipelines.broken.clear()
    release = await pipelines.release("shop-2")
    pipelines.clock.advance(seconds=1)
    changes = {"rejection": None, "restored": pipelines.clock()}
    restored = release.status.model_copy(update=changes)
    await pipelines.store.update_status(release.with_status(restored))
    await pipelines.ask("shop-2", "dev", "Promote")
    await pipelines.settle()
    assert (await pipelines.phases())["asked"] == "Succeeded"
    assert await pipelines.running(DEV) == image("two")


async def test_a_person_rolls_back_to_an_earlier_release(pipelines: ClusterPipeline) -> None:
    await pipelines.push("two")
    await pipelines.settle()
    await pipelines.ask("shop-1", "production", "RollBack")
    await pipelines.settle()
    assert (await pipelines.phases())["asked"] == "Succeeded"
    assert await pipelines.running(PRODUCTION) == image("one")
    assert await pipelines.running(DEV) == image("two")
