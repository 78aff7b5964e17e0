"""The condition Degraded of BuildConfigs and Pipelines: outcomes of the newest, not of history."""

from datetime import UTC, datetime
from typing import Any

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.meta import Condition
from upwell.api.promotion import Promotion, Release
from upwell.policy.health.builds import build_degradation
from upwell.policy.health.promotion import drift_of, pipeline_degradation

BEFORE = Condition(type="Degraded", status="True", reason="X", message="build web-1 failed: X")


def build(phase: str, **status: Any) -> Build:
    document = {"metadata": {"name": "web-2"}, "status": {"phase": phase, **status}}
    return decode_as(Build, document)


def release(rejection: dict[str, Any] | None) -> Release:
    status = {"phase": "Rejected" if rejection else "Waiting", "rejection": rejection}
    return decode_as(Release, {"metadata": {"name": "shop-5"}, "status": status})


def promotion(name: str, phase: str, hour: int, stage: str = "qa") -> Promotion:
    ended = datetime(2026, 3, 1, hour, tzinfo=UTC).isoformat()
    return decode_as(
        Promotion,
        {
            "metadata": {"name": name},
            "spec": {"release": "shop-4", "stage": stage, "purpose": "RollBack"},
            "status": {"phase": phase, "ended": ended, "message": "no route to host"},
        },
    )


def test_a_failed_build_degrades_until_one_is_complete() -> None:
    failed = build_degradation(build("Failed", reason="DockerBuildFailed", message="no"), None)
    assert failed is not None
    assert (failed.status, failed.reason) == ("True", "DockerBuildFailed")
    assert failed.message == "build web-2 failed: DockerBuildFailed: no"

    assert build_degradation(build("Running"), BEFORE) is BEFORE
    whole = build_degradation(build("Complete"), BEFORE)
    assert whole is not None
    assert whole.status == "False"
    assert build_degradation(build("Complete"), None) is None
    assert build_degradation(None, None) is None


def test_a_build_that_waits_for_a_fault_to_pass_degrades_and_a_cancelled_one_does_not() -> None:
    waits = build("New", reason="PullBuilderImageFailed", retryTime="2026-03-01T12:00:00Z")
    found = build_degradation(waits, None)
    assert found is not None
    assert found.is_true
    assert build_degradation(build("Cancelled", reason="CancelledBuild"), None) is None


def test_the_newest_release_decides_and_a_persons_no_is_no_fault() -> None:
    at = "2026-03-01T12:00:00Z"
    rejected = release({"reason": "check smoke: exit 1", "stage": "qa", "at": at})
    found = pipeline_degradation(rejected, [], None)
    assert found is not None
    assert (found.reason, found.message) == (
        "ReleaseRejected",
        "release shop-5 was rejected in stage qa: check smoke: exit 1",
    )
    by_hand = release({"reason": "not now", "by": "ann", "at": at})
    assert pipeline_degradation(by_hand, [], None) is None
    assert pipeline_degradation(release(None), [], None) is None


def test_the_newest_promotion_of_each_stage_decides() -> None:
    failed = promotion("a", "Failed", 9)
    found = pipeline_degradation(release(None), [failed], None)
    assert found is not None
    assert found.reason == "PromotionFailed"
    assert found.message.endswith("of shop-4 in stage qa has failed: no route to host")

    later = promotion("b", "Succeeded", 10)
    assert pipeline_degradation(release(None), [later, failed], None) is None
    gone = pipeline_degradation(release(None), [], None, ["shop"])
    assert gone is not None
    assert (gone.status, gone.reason) == ("True", "ImageStreamTagNotFound")
    assert "the tag of component shop has no image any more" in gone.message
    assert pipeline_degradation(None, [], None, ["shop"]) is None
    whole = pipeline_degradation(release(None), [later, failed], found)
    assert whole is not None
    assert whole.status == "False"
    elsewhere = promotion("c", "Succeeded", 11, "live")
    assert pipeline_degradation(release(None), [failed, elsewhere], None) is not None


def test_a_workload_of_a_stage_that_somebody_changed_degrades_in_its_own_words() -> None:
    words = "instance web-0 runs web = sha256:12; mended"
    drifted = {"type": "Drifted", "status": "True", "reason": "ChangedByHand", "message": words}
    document = {"metadata": {"name": "web", "namespace": "shop"}}
    as_rolled_out = decode_as(Deployment, document)
    changed = decode_as(Deployment, {**document, "status": {"conditions": [drifted]}})
    assert list(drift_of("qa", [as_rolled_out])) == []
    told = list(drift_of("qa", [as_rolled_out, changed]))
    assert told == [f"stage qa: Deployment shop/web: {words}"]

    found = pipeline_degradation(release(None), [], None, drifted=told)
    assert found is not None
    assert (found.status, found.reason, found.message) == ("True", "WorkloadDrifted", told[0])
    over = pipeline_degradation(release(None), [], found)
    assert over is not None
    assert over.status == "False"
