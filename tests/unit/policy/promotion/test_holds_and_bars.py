"""What keeps a promotion from beginning, whom it stops, and what is said of it."""

from datetime import timedelta

import pytest
from tests.support.promotion.planned_pipeline import STAGES, START, Line

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import (
    Approval,
    Freeze,
    FreezeSpec,
    Quarantine,
    QuarantineSpec,
    Stage,
    Window,
)
from upwell.api.promotion import PromotionPhase, Rejection

HOLD, HOLD_UNTIL = "stage-hold.upwell.dev/dev", "stage-hold-until.upwell.dev/dev"
EMERGENCY = "CVE-2015-7547 is being exploited"


def freeze(**spec: object) -> Freeze:
    return Freeze(
        metadata=ObjectMeta(name="holidays"), spec=FreezeSpec.model_validate({"by": "ann", **spec})
    )


def test_a_hold_stops_everybody_but_what_set_it_itself() -> None:
    line = Line()
    line.annotate(**{HOLD: "we look into it"})
    line.publish(1)
    assert line.phases() == {"shop-1.dev": "Waiting"}
    assert line.status("shop-1.dev").message == (
        "waits for a hold to be lifted: we look into it; `upwell resume` lifts it"
    )
    assert line.stage("dev").hold == "we look into it"
    asked = line.ask("shop-1", "dev", bypass=EMERGENCY)
    assert line.phases() == {"shop-1.dev": "Superseded", asked: "Waiting"}
    own = line.ask("shop-1", "dev", hold="we look into it")
    assert line.phase(own) == PromotionPhase.ROLLING_OUT


def test_a_hold_that_comes_while_a_persons_wish_waits_is_not_gone_over() -> None:
    line = Line()
    line.freezes["holidays"] = freeze()
    line.publish(1)
    asked = line.ask("shop-1", "dev")
    line.annotate(**{HOLD: "we look into it"})
    line.freezes.clear()
    line.settle()
    assert line.phase(asked) == PromotionPhase.WAITING
    assert "we look into it" in line.status(asked).message


def test_a_hold_ends_by_itself_at_its_time() -> None:
    line = Line()
    until = START + timedelta(hours=2)
    line.annotate(**{HOLD: "lunch", HOLD_UNTIL: until.isoformat()})
    line.publish(1)
    assert line.status("shop-1.dev").until == until
    assert line.plan is not None
    assert line.plan.again == until
    line.pass_time(hours=2)
    assert line.phases() == {"shop-1.dev": "RollingOut"}
    assert line.stage("dev").hold is None


def test_a_hold_of_the_pipeline_holds_every_stage() -> None:
    line = Line()
    line.publish(1)
    line.annotate(**{"upwell.dev/hold": ""})
    line.succeed("shop-1.dev")
    assert line.phases()["shop-1.staging"] == "Waiting"
    assert "no reason given" in line.status("shop-1.staging").message
    line.annotate()
    assert line.phases()["shop-1.staging"] == "RollingOut"


def test_a_freeze_stops_the_line_and_what_has_begun_is_finished() -> None:
    line = Line()
    line.publish(1)
    line.serve("shop-1.dev")
    end = START + timedelta(days=2)
    line.freezes["holidays"] = freeze(end=end, reason="Christmas")
    line.succeed("shop-1.dev")
    assert line.phases() == {"shop-1.dev": "Succeeded", "shop-1.staging": "Waiting"}
    status = line.status("shop-1.staging")
    assert status.message == "waits for Freeze holidays by ann (Christmas)"
    assert status.until == end
    line.pass_time(days=2)
    assert line.phases()["shop-1.staging"] == "RollingOut"


@pytest.mark.parametrize(
    ("spec", "stops"),
    [
        ({}, True),
        ({"namespaces": ("shop",)}, True),
        ({"namespaces": ("other",)}, False),
        ({"pipelines": ("shop",)}, True),
        ({"pipelines": ("gate",), "namespaces": ("shop",)}, False),
    ],
)
def test_a_freeze_says_whom_it_stops(spec: dict[str, object], *, stops: bool) -> None:
    line = Line()
    line.freezes["holidays"] = freeze(**spec)
    line.publish(1)
    assert line.phases() == {"shop-1.dev": "Waiting" if stops else "RollingOut"}


def test_the_bypass_passes_order_approval_and_clock() -> None:
    line = Line(
        Stage(name="dev"),
        Stage(
            name="production",
            approval=Approval(required=2),
            windows=(Window(cron="0 3 * * 6", duration_seconds=3600),),
        ),
    )
    line.freezes["holidays"] = freeze()
    line.publish(1)
    plain = line.ask("shop-1", "production")
    assert line.phase(plain) == PromotionPhase.WAITING
    urgent = line.ask("shop-1", "production", bypass=EMERGENCY)
    assert line.phase(urgent) == PromotionPhase.ROLLING_OUT
    assert line.status(urgent).message == f"emergency: {EMERGENCY}"
    assert line.phase(plain) == PromotionPhase.SUPERSEDED


def test_no_bypass_passes_a_rejection() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev")
    release = line.releases["shop-1"]
    rejection = Rejection(reason="it leaks", by="bob", at=line.now)
    line.releases["shop-1"] = release.with_status(
        release.status.model_copy(update={"rejection": rejection})
    )
    line.settle()
    urgent = line.ask("shop-1", "production", bypass=EMERGENCY)
    assert line.phase(urgent) == PromotionPhase.SUPERSEDED
    assert line.status(urgent).message == "shop-1 is rejected: it leaks"


def test_a_quarantine_stops_everybody_until_it_is_lifted() -> None:
    line = Line()
    spec = QuarantineSpec(digest=f"sha256:{7:064x}", image="debian:11", reason="2 failed on it")
    line.quarantines["base"] = Quarantine(metadata=ObjectMeta(name="base-7"), spec=spec)
    line.publish(1, base=7)
    urgent = line.ask("shop-1", "dev", bypass=EMERGENCY)
    assert line.phase(urgent) == PromotionPhase.WAITING
    assert "Quarantine base-7 of debian:11 (2 failed on it)" in line.status(urgent).message
    line.quarantines.clear()
    line.settle()
    assert line.phase(urgent) == PromotionPhase.ROLLING_OUT


def test_a_person_goes_back_through_every_bar_and_stops_what_is_under_way() -> None:
    line = Line(*STAGES[:2])
    line.publish(1)
    line.succeed("shop-1.dev", "shop-1.staging")
    line.publish(2)
    line.succeed("shop-2.dev", "shop-2.staging")
    line.publish(3)
    line.succeed("shop-3.dev")
    assert line.phase("shop-3.staging") == PromotionPhase.ROLLING_OUT
    line.freezes["holidays"] = freeze()
    back = line.roll_back("shop-1", "staging")
    assert line.phase("shop-3.staging") == PromotionPhase.SUPERSEDED
    assert "ann rolls back: it is slow" in line.status("shop-3.staging").message
    assert line.phase(back) == PromotionPhase.ROLLING_OUT
    line.serve(back)
    assert line.phase(back) == PromotionPhase.SUCCEEDED
    assert line.stage("staging").release == "shop-1"


def test_two_requests_for_one_stage_begin_one_after_the_other() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev")
    line.publish(2)
    first = line.ask("shop-1", "dev")
    second = line.ask("shop-1", "dev")
    begun = [name for name, phase in line.phases().items() if phase == "RollingOut"]
    assert len([name for name in begun if name.partition(".")[2].startswith("dev")]) == 1
    line.succeed("shop-2.dev")
    assert (line.phase(first), line.phase(second)) == ("Superseded", "RollingOut")


def test_a_clock_that_goes_back_undoes_nothing() -> None:
    line = Line()
    line.publish(1)
    line.succeed("shop-1.dev")
    line.now = START - timedelta(days=3)
    line.publish(2)
    line.succeed("shop-2.dev")
    assert line.stage("dev").release == "shop-2"
    started = line.status("shop-2.dev").started
    ended = line.status("shop-1.dev").ended
    assert started is not None
    assert ended is not None
    assert started >= ended


def test_a_stage_that_serves_a_rejected_release_waits_for_a_new_one() -> None:
    line = Line(*STAGES[:1])
    line.publish(1)
    line.succeed("shop-1.dev")
    line.publish(2)
    line.succeed("shop-2.dev")
    release = line.releases["shop-2"]
    rejection = Rejection(reason="it leaks", by="bob", at=line.now)
    line.releases["shop-2"] = release.with_status(
        release.status.model_copy(update={"rejection": rejection})
    )
    line.settle()
    assert line.stage("dev").release == "shop-2"
    assert line.stage("dev").waits_for == "a new Release: shop-2 was rejected: it leaks"
