"""Releases are made and promoted as objects say, through faults and deaths of the server."""

import json

import pytest
from tests.support.promotion.reconciled_pipeline import NAMESPACE, ReconciledPipeline, image

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline, Quarantine, QuarantineSpec
from upwell.api.promotion import (
    PIPELINE_LABEL,
    PromotionPhase,
    Rejection,
    Release,
    ReleasePhase,
)
from upwell.oci import Digest
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.registry.errors import RegistryUnavailableError


@pytest.fixture
async def pipelines() -> ReconciledPipeline:
    """A Pipeline of two stages whose first Release is in both."""
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev"}, {"name": "production"})
    await pipelines.push("one")
    await pipelines.settle()
    return pipelines


async def test_a_new_image_goes_through_all_stages_by_its_digest(
    pipelines: ReconciledPipeline,
) -> None:
    assert await pipelines.phases() == {"shop-1.dev": "Succeeded", "shop-1.production": "Succeeded"}
    await pipelines.push("two")
    await pipelines.settle()
    for name in ("dev-shop", "production-shop"):
        assert await pipelines.running(name) == image("two")
    assert (await pipelines.release("shop-2")).status.phase is ReleasePhase.PROMOTED
    tested = (await pipelines.promotion("shop-2.dev")).status.tested
    assert [image("two").endswith(digest) for digest in tested] == [True]
    workload = await pipelines.store.get(Deployment, NAMESPACE, "production-shop")
    note = json.loads(workload.annotations[PROMOTED_ANNOTATION])
    assert note == {
        "pipeline": "shop/shop",
        "stage": "production",
        "release": "shop-2",
        "containers": ["web"],
    }
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    assert [stage.release for stage in pipeline.status.stages] == ["shop-2", "shop-2"]


async def test_equal_reconciles_write_nothing(pipelines: ReconciledPipeline) -> None:
    pipelines.store.lives = 0
    await pipelines.settle()


async def test_failed_checks_put_the_stage_back_and_stop_there(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.FAILED
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert await pipelines.running("dev-shop") == image("one")
    assert await pipelines.running("production-shop") == image("one")
    rejection = (await pipelines.release("shop-2")).status.rejection
    assert rejection is not None
    assert rejection.reason == "smoke: exit 1; shop-1 was restored"


async def test_what_is_inconclusive_has_not_passed(pipelines: ReconciledPipeline) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.INCONCLUSIVE
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert "shop-2.production" not in await pipelines.phases()


async def test_a_rollout_that_fails_puts_the_stage_back(pipelines: ReconciledPipeline) -> None:
    pipelines.broken.add(image("two"))
    await pipelines.push("two")
    await pipelines.settle()
    assert await pipelines.running("dev-shop") == image("one")
    message = (await pipelines.promotion("shop-2.dev")).status.message
    assert "it never became ready" in message
    assert "shop-2.dev" not in pipelines.checks.asked


async def test_a_workload_that_crashes_while_it_is_verified_fails_the_promotion(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.RUNNING
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Verifying"
    words = "0 of 1 replicas of revision 2 are available: container web exited 3: no database"
    await pipelines.degrade("dev-shop", "CrashLoopBackOff", words)
    pipelines.checks.outcomes["dev"] = VerificationOutcome.PASSED

    await pipelines.settle()

    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert words in (await pipelines.promotion("shop-2.dev")).status.message
    assert await pipelines.running("dev-shop") == image("one")
    assert "shop-2.production" not in await pipelines.phases()
    pipeline = await pipelines.store.get(Pipeline, "shop", "shop")
    degraded = find(pipeline.status.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "ReleaseRejected")
    assert "no database" in degraded.message


async def test_a_stage_is_not_verified_while_its_workload_is_degraded(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.RUNNING
    await pipelines.push("two")
    await pipelines.settle()
    words = "0 of 1 replicas of revision 2 are available: container web: refused"
    await pipelines.degrade("dev-shop", "ContainersNotReady", words)
    pipelines.checks.outcomes["dev"] = VerificationOutcome.PASSED

    await pipelines.settle()

    promotion = await pipelines.promotion("shop-2.dev")
    assert promotion.status.phase.value == "Verifying"
    assert promotion.status.message == f"Deployment shop/dev-shop: {words}"
    await pipelines.degrade("dev-shop", "AsExpected", "", over=True)
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Succeeded"


async def test_a_soak_stands_still_while_its_workload_is_degraded() -> None:
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev", "soakSeconds": 100, "rolloutSeconds": 60})
    await pipelines.push("one")
    await pipelines.settle()
    for _ in range(2):
        pipelines.clock.advance(20)
        await pipelines.settle()
    status = (await pipelines.promotion("shop-1.dev")).status
    assert (status.soaked_seconds, status.message) == (40, "soaked 40 s of 100 s")
    assert "soaked 40 s of 100 s" in await waits_for(pipelines)

    await pipelines.degrade("dev-shop", "ContainersNotReady", "0 of 1 replicas are available")
    pipelines.clock.advance(20)
    await pipelines.settle()
    still = "soaked 40 s of 100 s, which stands still: Deployment shop/dev-shop: 0 of 1 replicas"
    assert (await pipelines.promotion("shop-1.dev")).status.message.startswith(still)

    await pipelines.degrade("dev-shop", "AsExpected", "", over=True)
    await pipelines.settle()
    pipelines.restart()  # what it was away for is not known to have been well
    for _ in range(3):
        pipelines.clock.advance(30)
        await pipelines.settle()
    assert (await pipelines.phases())["shop-1.dev"] == "Succeeded"


async def test_a_workload_that_stays_degraded_fails_its_soak() -> None:
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev", "soakSeconds": 100, "rolloutSeconds": 60})
    await pipelines.push("one")
    await pipelines.settle()
    await pipelines.degrade("dev-shop", "ContainersNotReady", "0 of 1 replicas are available")
    for _ in range(8):
        assert (await pipelines.phases())["shop-1.dev"] == "Verifying"
        pipelines.clock.advance(20)
        await pipelines.settle()
    failed = (await pipelines.promotion("shop-1.dev")).status
    assert failed.phase.value == "Failed"
    assert "0 of 1 replicas are available" in failed.message


async def waits_for(pipelines: ReconciledPipeline) -> str:
    pipeline = await pipelines.store.get(Pipeline, "shop", "shop")
    return " ".join(stage.waits_for for stage in pipeline.status.stages)


async def test_what_crashed_before_a_release_came_is_not_its_fault(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.clock.advance(60)
    await pipelines.degrade("dev-shop", "CrashLoopBackOff", "0 of 1 replicas of revision 1")
    pipelines.clock.advance(60)
    await pipelines.push("two")
    await pipelines.settle()

    assert (await pipelines.phases())["shop-2.dev"] == "Succeeded"


async def test_a_rollout_that_does_not_end_in_time_has_failed(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.slow = True
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "RollingOut"
    pipelines.clock.advance(1801)
    await pipelines.settle()
    pipelines.slow = False
    await pipelines.settle()
    message = (await pipelines.promotion("shop-2.dev")).status.message
    assert "not rolled out after 1800 s" in message
    assert await pipelines.running("dev-shop") == image("one")


async def test_an_image_that_is_gone_changes_nothing_and_rejects_the_release(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.registry.gone.add(image("two"))
    await pipelines.push("two")
    await pipelines.settle()
    assert await pipelines.running("dev-shop") == image("one")
    rejection = (await pipelines.release("shop-2")).status.rejection
    assert rejection is not None
    assert "cannot pull the images of shop-2: no manifest" in rejection.reason


async def test_a_registry_that_is_down_is_waited_for(pipelines: ReconciledPipeline) -> None:
    pipelines.registry.fault = RegistryUnavailableError("registry.test", "connection refused")
    await pipelines.push("two")
    await pipelines.settle()
    status = (await pipelines.promotion("shop-2.dev")).status
    assert status.phase is PromotionPhase.ROLLING_OUT
    assert "it is tried again" in status.message
    pipelines.registry.fault = None
    await pipelines.settle()
    assert await pipelines.running("production-shop") == image("two")


async def test_images_are_in_a_stages_mirror_before_it_is_changed() -> None:
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev"}, {"name": "production", "mirror": "edge.test/live"})
    await pipelines.push("one")
    await pipelines.settle()
    mirrored = image("one").replace("registry.test/", "edge.test/live/")
    assert pipelines.registry.copied == [(image("one"), mirrored)]
    assert await pipelines.running("dev-shop") == image("one")
    assert await pipelines.running("production-shop") == mirrored


async def test_what_a_person_holds_in_mid_promotion_is_left_to_that_person(
    pipelines: ReconciledPipeline,
) -> None:
    pipelines.slow = True
    await pipelines.push("two")
    await pipelines.settle()
    workload = await pipelines.store.get(Deployment, NAMESPACE, "dev-shop")
    held = workload.with_metadata(annotations={HOLD_ANNOTATION: "undo"})
    container = held.spec.template.spec.containers[0].model_copy(update={"image": image("one")})
    pod = held.spec.template.spec.model_copy(update={"containers": (container,)})
    template = held.spec.template.model_copy(update={"spec": pod})
    spec = held.spec.model_copy(update={"template": template})
    await pipelines.store.update(held.model_copy(update={"spec": spec}))
    pipelines.slow = False
    await pipelines.settle()
    status = (await pipelines.promotion("shop-2.dev")).status
    assert status.phase is PromotionPhase.SUPERSEDED
    assert "held by a person" in status.message
    assert await pipelines.running("dev-shop") == image("one")
    assert (await pipelines.release("shop-2")).status.rejection is None


async def test_a_rejection_in_mid_promotion_takes_it_back(pipelines: ReconciledPipeline) -> None:
    pipelines.checks.outcomes["dev"] = VerificationOutcome.RUNNING
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Verifying"
    release = await pipelines.release("shop-2")
    rejection = Rejection(reason="it leaks", by="ann", at=pipelines.clock())
    changed = release.status.model_copy(update={"rejection": rejection})
    await pipelines.store.update_status(release.with_status(changed))
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert await pipelines.running("dev-shop") == image("one")
    assert "shop-2.dev" in pipelines.checks.stopped


async def test_a_workload_that_does_not_exist_yet_is_waited_for() -> None:
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev", "workloads": [{"name": "later"}]})
    await pipelines.store.delete(Deployment, NAMESPACE, "dev-shop")
    await pipelines.push("one")
    await pipelines.settle()
    message = (await pipelines.promotion("shop-1.dev")).status.message
    assert message == "waits for Deployment shop/later to exist"
    await pipelines.deployment("later")
    await pipelines.settle()
    assert await pipelines.running("later") == image("one")


async def test_a_stage_that_is_taken_out_ends_its_promotion(pipelines: ReconciledPipeline) -> None:
    pipelines.slow = True
    await pipelines.push("two")
    await pipelines.settle()
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    spec = pipeline.spec.model_copy(update={"stages": pipeline.spec.stages[1:]})
    await pipelines.store.update(pipeline.model_copy(update={"spec": spec}))
    await pipelines.settle()
    status = (await pipelines.promotion("shop-2.dev")).status
    assert (status.phase, status.message) == (
        PromotionPhase.SUPERSEDED,
        "Pipeline shop has no stage dev any more",
    )


async def test_a_base_on_which_two_applications_fail_is_quarantined() -> None:
    pipelines = ReconciledPipeline()
    for name in ("shop", "gate", "cart"):
        await pipelines.pipeline({"name": "dev"}, name=name)
        await pipelines.built(f"{name}-1", f"{name} old", "old base")
        await pipelines.built(f"{name}-2", f"{name} new", "new base")
        await pipelines.push(f"{name} old", name)
    await pipelines.settle()
    pipelines.checks.outcomes = {"dev": VerificationOutcome.FAILED}
    await pipelines.push("shop new", "shop")
    await pipelines.settle()
    assert not (await pipelines.store.list(Quarantine)).items
    await pipelines.push("gate new", "gate")
    await pipelines.settle()
    (made,) = (await pipelines.store.list(Quarantine)).items
    assert made.spec.image == "new base:latest"
    assert made.spec.releases == ("shop/gate-2", "shop/shop-2")
    pipelines.checks.outcomes = {"dev": VerificationOutcome.PASSED}
    await pipelines.push("cart new", "cart")
    await pipelines.settle()
    status = (await pipelines.promotion("cart-2.dev")).status
    assert status.phase is PromotionPhase.WAITING
    assert f"the end of Quarantine {made.name}" in status.message
    await pipelines.store.delete(Quarantine, "", made.name)
    await pipelines.settle()
    assert await pipelines.running("dev-cart") == image("cart new")


async def test_a_release_that_leaves_out_its_bases_is_held_by_their_quarantine() -> None:
    pipelines = ReconciledPipeline()
    await pipelines.pipeline({"name": "dev"})
    await pipelines.built("shop-1", "mine", "bad base")
    digest = str(Digest.of(b"bad base"))
    spec = QuarantineSpec(digest=digest, image="bad base:latest", reason="broken")
    await pipelines.store.create(Quarantine(metadata=ObjectMeta(name="base-bad"), spec=spec))
    component = {"name": "web", "image": image("mine")}
    document = {
        "metadata": {"name": "shop-9", "namespace": "shop", "labels": {PIPELINE_LABEL: "shop"}},
        "spec": {"pipeline": "shop", "number": 9, "components": [component]},
    }
    await pipelines.store.create(decode_as(Release, document))
    await pipelines.settle()
    status = (await pipelines.promotion("shop-9.dev")).status
    assert status.phase is PromotionPhase.WAITING
    assert "the end of Quarantine base-bad" in status.message
    assert await pipelines.running("dev-shop") == " "


@pytest.mark.parametrize("good", [True, False])
async def test_killed_before_any_write_it_comes_to_the_same_end_once(*, good: bool) -> None:
    deaths = 0
    for lives in range(60):
        pipelines = ReconciledPipeline()
        await pipelines.pipeline({"name": "dev"}, {"name": "production"})
        await pipelines.push("one")
        await pipelines.settle()
        pipelines.checks.outcomes["dev"] = (
            VerificationOutcome.PASSED if good else VerificationOutcome.FAILED
        )
        await pipelines.push("two")
        died = await pipelines.settle_killed(lives)
        await pipelines.settle()
        end = "two" if good else "one"
        assert await pipelines.running("dev-shop") == image(end)
        assert await pipelines.running("production-shop") == image(end)
        phases = await pipelines.phases()
        assert phases["shop-2.dev"] == ("Succeeded" if good else "Failed")
        assert set(phases) - {"shop-2.production"} == {
            "shop-1.dev",
            "shop-1.production",
            "shop-2.dev",
        }
        assert ("shop-2.production" in phases) is good
        assert len((await pipelines.store.list(Release)).items) == 2
        if not died:
            break
        deaths += 1
    else:
        raise AssertionError("it never came to its end")
    assert deaths > 10
