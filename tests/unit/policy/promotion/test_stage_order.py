"""Releases go from stage to stage once they are verified, and no further."""

import pytest
from tests.support.promotion.planned_pipeline import STAGES, PlannedPipeline

from upwell.api.pipeline import Stage, Verification
from upwell.api.promotion import PromotionPhase, Purpose, ReleasePhase


def test_a_release_goes_through_all_stages_in_order() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    assert planned.phases() == {"shop-1.dev": "RollingOut"}
    assert planned.stage("staging").waits_for == "shop-1 to be verified in dev"
    planned.serve("shop-1.dev")
    assert planned.phases() == {"shop-1.dev": "Verifying"}
    planned.succeed("shop-1.dev")
    assert planned.phases() == {"shop-1.dev": "Succeeded", "shop-1.staging": "RollingOut"}
    planned.succeed("shop-1.staging", "shop-1.production")
    assert planned.serves() == ["shop-1", "shop-1", "shop-1"]
    status = planned.releases["shop-1"].status
    assert status.phase is ReleasePhase.PROMOTED
    assert [one.name for one in status.verified] == ["dev", "staging", "production"]


def test_a_release_that_fails_is_rejected_and_the_stage_goes_back() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev", "shop-1.staging", "shop-1.production")
    planned.publish(2)
    planned.succeed("shop-2.dev")
    planned.serve("shop-2.staging")
    planned.fail("shop-2.staging")
    assert planned.serves() == ["shop-2", "shop-1", "shop-1"]
    assert planned.stage("staging").verified
    rejection = planned.releases["shop-2"].status.rejection
    assert rejection is not None
    assert (rejection.stage, rejection.by) == ("staging", "")
    assert "exit code 1" in rejection.reason
    assert "shop-1 was restored" in rejection.reason
    assert "shop-2.production" not in planned.promotions
    assert "was rejected in staging" in planned.stage("production").waits_for


def test_a_first_release_that_fails_has_nothing_to_go_back_to() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.fail("shop-1.dev")
    assert planned.phases() == {"shop-1.dev": "Failed"}
    assert "no earlier Release was verified here" in planned.status("shop-1.dev").message
    planned.publish(2)
    planned.succeed("shop-2.dev")
    assert planned.stage("dev").verified


def test_a_stage_that_cannot_be_put_back_says_so() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.publish(2)
    planned.serve("shop-2.dev")
    planned.fail("shop-2.dev", back=False)
    assert planned.phase("shop-2.dev") == PromotionPhase.FAILED
    assert "it does not start" in planned.status("shop-2.dev").message


def test_a_newer_release_goes_in_the_place_of_one_that_waits() -> None:
    planned = PlannedPipeline(STAGES[0], Stage(name="production", promotion="Manual"))
    planned.publish(1)
    planned.succeed("shop-1.dev")
    assert (
        planned.stage("production").waits_for
        == "a person: `upwell promote shop-1 --stage production`"
    )
    planned.publish(2)
    planned.succeed("shop-2.dev")
    assert planned.stage("production").candidate == "shop-2"
    assert planned.releases["shop-1"].status.phase is ReleasePhase.SUPERSEDED
    assert planned.releases["shop-1"].status.message == "replaced by shop-2"


def test_what_has_begun_is_ended_before_the_newer_one_comes() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.publish(2)
    assert planned.phases() == {"shop-1.dev": "RollingOut"}
    planned.succeed("shop-1.dev")
    assert planned.phases()["shop-2.dev"] == "RollingOut"
    assert planned.phases()["shop-1.staging"] == "RollingOut"


@pytest.mark.parametrize(("requires", "after_one"), [("All", "Waits"), ("Any", "RollingOut")])
def test_a_stage_after_two_regions_waits_for_all_or_one(requires: str, after_one: str) -> None:
    planned = PlannedPipeline(
        Stage(name="dev"),
        Stage(name="east", after=("dev",)),
        Stage(name="west", after=("dev",)),
        Stage(name="world", after=("east", "west"), requires=requires),
    )
    planned.publish(1)
    planned.succeed("shop-1.dev")
    assert planned.phases() == {
        "shop-1.dev": "Succeeded",
        "shop-1.east": "RollingOut",
        "shop-1.west": "RollingOut",
    }
    planned.succeed("shop-1.east")
    assert planned.phases().get("shop-1.world", "Waits") == after_one
    planned.succeed("shop-1.west")
    assert planned.phases()["shop-1.world"] == "RollingOut"


def test_a_failed_region_keeps_the_release_from_what_comes_after() -> None:
    planned = PlannedPipeline(
        Stage(name="east"),
        Stage(name="west", after=()),
        Stage(name="world", after=("east", "west"), requires="Any"),
    )
    planned.publish(1)
    planned.fail("shop-1.east")
    assert "shop-1.world" not in planned.promotions
    assert planned.releases["shop-1"].status.phase is ReleasePhase.REJECTED


def test_the_same_digests_again_stay_rejected() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.publish(2)
    planned.fail("shop-2.dev")
    planned.publish(3)
    planned.succeed("shop-3.dev")
    planned.publish(2)
    assert planned.releases["shop-4"].status.phase is ReleasePhase.REJECTED
    assert "the same images were rejected as shop-2" in planned.releases["shop-4"].status.message
    assert "shop-4.dev" not in planned.promotions


def test_a_failed_re_verification_stops_what_would_follow() -> None:
    planned = PlannedPipeline(STAGES[0], Stage(name="production", promotion="Manual"))
    planned.publish(1)
    planned.succeed("shop-1.dev")
    again = planned.ask("shop-1", "dev", purpose=Purpose.VERIFY)
    assert planned.phase(again) == PromotionPhase.VERIFYING
    planned.fail(again)
    assert planned.stage("dev").verified is False
    asked = planned.ask("shop-1", "production")
    assert planned.phase(asked) == PromotionPhase.WAITING
    assert planned.status(asked).message == "waits for shop-1 to be verified in dev"


def test_what_serves_is_verified_again_on_schedule() -> None:
    planned = PlannedPipeline(Stage(name="dev", verification=Verification(schedule="0 3 * * *")))
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.pass_time(hours=10)
    assert planned.phases() == {"shop-1.dev": "Succeeded"}
    planned.pass_time(hours=6)
    again = planned.promotions["shop-1.dev.2"]
    assert again.spec.purpose is Purpose.VERIFY
    assert again.status.phase is PromotionPhase.VERIFYING
    planned.succeed("shop-1.dev.2")
    planned.pass_time(hours=1)
    assert len(planned.promotions) == 2


def test_old_releases_go_but_not_those_that_serve() -> None:
    planned = PlannedPipeline(
        STAGES[0], Stage(name="production", promotion="Manual"), history_limit=2
    )
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.ask("shop-1", "production")
    planned.succeed("shop-1.production")
    for number in range(2, 7):
        planned.publish(number)
        planned.succeed(f"shop-{number}.dev")
    assert {"shop-1", "shop-6"} <= set(planned.releases)
    assert "shop-2" not in planned.releases
