"""Releases go from stage to stage once they are verified, and no further."""

import pytest
from tests.support.promotion.planned_pipeline import STAGES, Line

from upwell.api.pipeline import Stage, Verification
from upwell.api.promotion import PromotionPhase, Purpose, ReleasePhase


def test_a_release_goes_through_all_stages_in_order() -> None:
    line = Line()
    line.publish(1)
    assert line.phases() == {"shop-1.dev": "RollingOut"}
    assert line.stage("staging").waits_for == "shop-1 to be verified in dev"
    line.serve("shop-1.dev")
    assert line.phases() == {"shop-1.dev": "Verifying"}
    line.succeed("shop-1.dev")
    assert line.phases() == {"shop-1.dev": "Succeeded", "shop-1.staging": "RollingOut"}
    line.succeed("shop-1.staging", "shop-1.production")
    assert line.serves() == ["shop-1", "shop-1", "shop-1"]
    status = line.releases["shop-1"].status
    assert status.phase is ReleasePhase.PROMOTED
    assert [one.name for one in status.verified] == ["dev", "staging", "production"]


def test_a_release_that_fails_is_rejected_and_the_stage_goes_back() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev", "shop-1.staging", "shop-1.production")
    line.publish(2)
    line.succeed("shop-2.dev")
    line.serve("shop-2.staging")
    line.fail("shop-2.staging")
    assert line.serves() == ["shop-2", "shop-1", "shop-1"]
    assert line.stage("staging").verified
    rejection = line.releases["shop-2"].status.rejection
    assert rejection is not None
    assert (rejection.stage, rejection.by) == ("staging", "")
    assert "exit code 1" in rejection.reason
    assert "shop-1 was restored" in rejection.reason
    assert "shop-2.production" not in line.promotions
    assert "was rejected in staging" in line.stage("production").waits_for


def test_a_first_release_that_fails_has_nothing_to_go_back_to() -> None:
    line = Line()
    line.publish(1)
    line.fail("shop-1.dev")
    assert line.phases() == {"shop-1.dev": "Failed"}
    assert "no earlier Release was verified here" in line.status("shop-1.dev").message
    line.publish(2)
    line.succeed("shop-2.dev")
    assert line.stage("dev").verified


def test_a_stage_that_cannot_be_put_back_says_so() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev")
    line.publish(2)
    line.serve("shop-2.dev")
    line.fail("shop-2.dev", back=False)
    assert line.phase("shop-2.dev") == PromotionPhase.FAILED
    assert "it does not start" in line.status("shop-2.dev").message


def test_a_newer_release_goes_in_the_place_of_one_that_waits() -> None:
    line = Line(STAGES[0], Stage(name="production", promotion="Manual"))
    line.publish(1)
    line.succeed("shop-1.dev")
    assert (
        line.stage("production").waits_for == "a person: `upwell promote shop-1 --stage production`"
    )
    line.publish(2)
    line.succeed("shop-2.dev")
    assert line.stage("production").candidate == "shop-2"
    assert line.releases["shop-1"].status.phase is ReleasePhase.SUPERSEDED
    assert line.releases["shop-1"].status.message == "shop-2 goes in its place"


def test_what_has_begun_is_ended_before_the_newer_one_comes() -> None:
    line = Line()
    line.publish(1)
    line.publish(2)
    assert line.phases() == {"shop-1.dev": "RollingOut"}
    line.succeed("shop-1.dev")
    assert line.phases()["shop-2.dev"] == "RollingOut"
    assert line.phases()["shop-1.staging"] == "RollingOut"


@pytest.mark.parametrize(("requires", "after_one"), [("All", "Waits"), ("Any", "RollingOut")])
def test_a_stage_after_two_regions_waits_for_all_or_one(requires: str, after_one: str) -> None:
    line = Line(
        Stage(name="dev"),
        Stage(name="east", after=("dev",)),
        Stage(name="west", after=("dev",)),
        Stage(name="world", after=("east", "west"), requires=requires),
    )
    line.publish(1)
    line.succeed("shop-1.dev")
    assert line.phases() == {
        "shop-1.dev": "Succeeded",
        "shop-1.east": "RollingOut",
        "shop-1.west": "RollingOut",
    }
    line.succeed("shop-1.east")
    assert line.phases().get("shop-1.world", "Waits") == after_one
    line.succeed("shop-1.west")
    assert line.phases()["shop-1.world"] == "RollingOut"


def test_a_failed_region_keeps_the_release_from_what_comes_after() -> None:
    line = Line(
        Stage(name="east"),
        Stage(name="west", after=()),
        Stage(name="world", after=("east", "west"), requires="Any"),
    )
    line.publish(1)
    line.fail("shop-1.east")
    assert "shop-1.world" not in line.promotions
    assert line.releases["shop-1"].status.phase is ReleasePhase.REJECTED


def test_the_same_digests_again_stay_rejected() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev")
    line.publish(2)
    line.fail("shop-2.dev")
    line.publish(3)
    line.succeed("shop-3.dev")
    line.publish(2)
    assert line.releases["shop-4"].status.phase is ReleasePhase.REJECTED
    assert "the same images were rejected as shop-2" in line.releases["shop-4"].status.message
    assert "shop-4.dev" not in line.promotions


def test_a_failed_re_verification_stops_what_would_follow() -> None:
    line = Line(STAGES[0], Stage(name="production", promotion="Manual"))
    line.publish(1)
    line.succeed("shop-1.dev")
    again = line.ask("shop-1", "dev", purpose=Purpose.VERIFY)
    assert line.phase(again) == PromotionPhase.VERIFYING
    line.fail(again)
    assert line.stage("dev").verified is False
    asked = line.ask("shop-1", "production")
    assert line.phase(asked) == PromotionPhase.WAITING
    assert line.status(asked).message == "waits for shop-1 to be verified in dev"


def test_what_serves_is_verified_again_on_schedule() -> None:
    line = Line(Stage(name="dev", verification=Verification(schedule="0 3 * * *")))
    line.publish(1)
    line.succeed("shop-1.dev")
    line.pass_time(hours=10)
    assert line.phases() == {"shop-1.dev": "Succeeded"}
    line.pass_time(hours=6)
    again = line.promotions["shop-1.dev.2"]
    assert again.spec.purpose is Purpose.VERIFY
    assert again.status.phase is PromotionPhase.VERIFYING
    line.succeed("shop-1.dev.2")
    line.pass_time(hours=1)
    assert len(line.promotions) == 2


def test_old_releases_go_but_not_those_that_serve() -> None:
    line = Line(STAGES[0], Stage(name="production", promotion="Manual"), history_limit=2)
    line.publish(1)
    line.succeed("shop-1.dev")
    line.ask("shop-1", "production")
    line.succeed("shop-1.production")
    for number in range(2, 7):
        line.publish(number)
        line.succeed(f"shop-{number}.dev")
    assert {"shop-1", "shop-6"} <= set(line.releases)
    assert "shop-2" not in line.releases
