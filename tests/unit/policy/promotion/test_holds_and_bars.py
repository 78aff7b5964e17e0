"""Holds and bars that keep a promotion from beginning: scope and messages."""

from datetime import timedelta

import pytest
from tests.support.cluster.workloads import workload
from tests.support.promotion.planned_pipeline import STAGES, START, PlannedPipeline

from upwell.api.apps import Deployment
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
from upwell.api.promotion import BY_HAND_ANNOTATION, PromotionPhase, Rejection
from upwell.policy.promotion.stages import hold_of, lifted
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

HOLD, HOLD_UNTIL = "stage-hold.upwell.dev/dev", "stage-hold-until.upwell.dev/dev"
EMERGENCY = "CVE-2015-7547 is being exploited"


def freeze(**spec: object) -> Freeze:
    return Freeze(
        metadata=ObjectMeta(name="holidays"), spec=FreezeSpec.model_validate({"by": "ann", **spec})
    )


def test_a_hold_stops_everybody_but_what_set_it_itself() -> None:
    planned = PlannedPipeline()
    planned.annotate(**{HOLD: "we look into it"})
    planned.publish(1)
    assert planned.phases() == {"shop-1.dev": "Waiting"}
    assert planned.status("shop-1.dev").message == (
        "waits for a hold to be lifted: we look into it; `upwell resume` lifts it"
    )
    assert planned.stage("dev").hold == "we look into it"
    asked = planned.ask("shop-1", "dev", bypass=EMERGENCY)
    assert planned.phases() == {"shop-1.dev": "Superseded", asked: "Waiting"}
    own = planned.ask("shop-1", "dev", hold="we look into it")
    assert planned.phase(own) == PromotionPhase.ROLLING_OUT


def test_a_hold_that_comes_while_a_persons_wish_waits_is_not_gone_over() -> None:
    planned = PlannedPipeline()
    planned.freezes["holidays"] = freeze()
    planned.publish(1)
    asked = planned.ask("shop-1", "dev")
    planned.annotate(**{HOLD: "we look into it"})
    planned.freezes.clear()
    planned.settle()
    assert planned.phase(asked) == PromotionPhase.WAITING
    assert "we look into it" in planned.status(asked).message


def test_a_hold_ends_by_itself_at_its_time() -> None:
    planned = PlannedPipeline()
    until = START + timedelta(hours=2)
    planned.annotate(**{HOLD: "lunch", HOLD_UNTIL: until.isoformat()})
    planned.publish(1)
    assert planned.status("shop-1.dev").until == until
    assert planned.plan is not None
    assert planned.plan.again == until
    planned.pass_time(hours=2)
    assert planned.phases() == {"shop-1.dev": "RollingOut"}
    assert planned.stage("dev").hold is None


def test_a_hold_of_the_pipeline_holds_every_stage() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.annotate(**{"upwell.dev/hold": ""})
    planned.succeed("shop-1.dev")
    assert planned.phases()["shop-1.staging"] == "Waiting"
    assert "no reason given" in planned.status("shop-1.staging").message
    planned.annotate()
    assert planned.phases()["shop-1.staging"] == "RollingOut"


@pytest.mark.parametrize(
    ("annotations", "command"),
    [
        ({}, "upwell resume deployment/web -n shop"),
        (
            {"deployment.kubernetes.io/revision": "7"},
            "kubectl annotate deployment/web -n shop upwell.dev/hold-",
        ),
    ],
)
def test_a_hold_of_a_workload_names_the_command_that_lifts_it(
    annotations: dict[str, str], command: str
) -> None:
    planned = PlannedPipeline()
    held = workload(Deployment).with_metadata(annotations={**annotations, HOLD_ANNOTATION: "audit"})
    stage = planned.pipeline.spec.stages[0]

    hold = hold_of(planned.pipeline, stage, [held], START)

    assert hold == f"Deployment shop/web: audit; `{command}` lifts it"
    assert lifted(planned.pipeline, stage, hold, "`upwell resume` lifts it") == hold
    planned.annotate(**{HOLD: "lunch"})
    told = lifted(planned.pipeline, stage, "lunch", "`upwell resume` lifts it")
    assert told == "lunch; `upwell resume` lifts it"


def test_a_freeze_stops_the_line_and_what_has_begun_is_finished() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.serve("shop-1.dev")
    end = START + timedelta(days=2)
    planned.freezes["holidays"] = freeze(end=end, reason="Christmas")
    planned.succeed("shop-1.dev")
    assert planned.phases() == {"shop-1.dev": "Succeeded", "shop-1.staging": "Waiting"}
    status = planned.status("shop-1.staging")
    assert status.message == "waits for Freeze holidays by ann (Christmas)"
    assert status.until == end
    planned.pass_time(days=2)
    assert planned.phases()["shop-1.staging"] == "RollingOut"


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
    planned = PlannedPipeline()
    planned.freezes["holidays"] = freeze(**spec)
    planned.publish(1)
    assert planned.phases() == {"shop-1.dev": "Waiting" if stops else "RollingOut"}


def test_the_bypass_passes_order_approval_and_clock() -> None:
    planned = PlannedPipeline(
        Stage(name="dev"),
        Stage(
            name="production",
            approval=Approval(required=2),
            windows=(Window(cron="0 3 * * 6", duration_seconds=3600),),
        ),
    )
    planned.freezes["holidays"] = freeze()
    planned.publish(1)
    plain = planned.ask("shop-1", "production")
    assert planned.phase(plain) == PromotionPhase.WAITING
    urgent = planned.ask("shop-1", "production", bypass=EMERGENCY)
    assert planned.phase(urgent) == PromotionPhase.ROLLING_OUT
    assert planned.status(urgent).message == f"emergency: {EMERGENCY}"
    assert planned.phase(plain) == PromotionPhase.SUPERSEDED


def test_no_bypass_passes_a_rejection() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev")
    release = planned.releases["shop-1"]
    rejection = Rejection(reason="it leaks", by="bob", at=planned.now)
    planned.releases["shop-1"] = release.with_status(
        release.status.model_copy(update={"rejection": rejection})
    )
    planned.settle()
    urgent = planned.ask("shop-1", "production", bypass=EMERGENCY)
    assert planned.phase(urgent) == PromotionPhase.SUPERSEDED
    assert planned.status(urgent).message == "shop-1 is rejected: it leaks"


def test_a_quarantine_stops_everybody_until_it_is_lifted() -> None:
    planned = PlannedPipeline()
    spec = QuarantineSpec(digest=f"sha256:{7:064x}", image="debian:11", reason="2 failed on it")
    planned.quarantines["base"] = Quarantine(metadata=ObjectMeta(name="base-7"), spec=spec)
    planned.publish(1, base=7)
    urgent = planned.ask("shop-1", "dev", bypass=EMERGENCY)
    assert planned.phase(urgent) == PromotionPhase.WAITING
    assert "Quarantine base-7 of debian:11 (2 failed on it)" in planned.status(urgent).message
    planned.quarantines.clear()
    planned.settle()
    assert planned.phase(urgent) == PromotionPhase.ROLLING_OUT


def test_a_person_goes_back_through_every_bar_and_stops_what_is_under_way() -> None:
    planned = PlannedPipeline(*STAGES[:2])
    planned.publish(1)
    planned.succeed("shop-1.dev", "shop-1.staging")
    planned.publish(2)
    planned.succeed("shop-2.dev", "shop-2.staging")
    planned.publish(3)
    planned.succeed("shop-3.dev")
    assert planned.phase("shop-3.staging") == PromotionPhase.ROLLING_OUT
    planned.freezes["holidays"] = freeze()
    back = planned.roll_back("shop-1", "staging")
    assert planned.phase("shop-3.staging") == PromotionPhase.SUPERSEDED
    assert "ann rolls back: it is slow" in planned.status("shop-3.staging").message
    assert planned.phase(back) == PromotionPhase.ROLLING_OUT
    planned.serve(back)
    assert planned.phase(back) == PromotionPhase.SUCCEEDED
    assert planned.stage("staging").release == "shop-1"


def test_two_requests_for_one_stage_begin_one_after_the_other() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.publish(2)
    first = planned.ask("shop-1", "dev")
    second = planned.ask("shop-1", "dev")
    begun = [name for name, phase in planned.phases().items() if phase == "RollingOut"]
    assert len([name for name in begun if name.partition(".")[2].startswith("dev")]) == 1
    planned.succeed("shop-2.dev")
    assert (planned.phase(first), planned.phase(second)) == ("Superseded", "RollingOut")


def test_a_clock_that_goes_back_undoes_nothing() -> None:
    planned = PlannedPipeline()
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.now = START - timedelta(days=3)
    planned.publish(2)
    planned.succeed("shop-2.dev")
    assert planned.stage("dev").release == "shop-2"
    started = planned.status("shop-2.dev").started
    ended = planned.status("shop-1.dev").ended
    assert started is not None
    assert ended is not None
    assert started >= ended


def test_a_stage_that_serves_a_rejected_release_waits_for_a_new_one() -> None:
    planned = PlannedPipeline(*STAGES[:1])
    planned.publish(1)
    planned.succeed("shop-1.dev")
    planned.publish(2)
    planned.succeed("shop-2.dev")
    release = planned.releases["shop-2"]
    rejection = Rejection(reason="it leaks", by="bob", at=planned.now)
    planned.releases["shop-2"] = release.with_status(
        release.status.model_copy(update={"rejection": rejection})
    )
    planned.settle()
    assert planned.stage("dev").release == "shop-2"
    assert planned.stage("dev").waits_for == "a new Release: shop-2 was rejected: it leaks"


def test_a_release_by_hand_of_a_build_that_is_gone_waits_for_any_quarantine() -> None:
    """Unknown bases are not clean ones."""
    planned = PlannedPipeline()
    spec = QuarantineSpec(digest=f"sha256:{7:064x}", image="debian:11", reason="2 failed on it")
    planned.quarantines["base"] = Quarantine(metadata=ObjectMeta(name="base-7"), spec=spec)
    planned.publish(1, base=5)
    planned.succeed("shop-1.dev")
    first = planned.releases["shop-1"]
    other = f"sha256:{99:064x}"
    component = first.spec.components[0]
    by_hand = first.model_copy(
        update={
            "metadata": first.metadata.model_copy(
                update={"name": "mine", "annotations": {BY_HAND_ANNOTATION: "true"}}
            ),
            "spec": first.spec.model_copy(
                update={
                    "number": 9,
                    "components": (
                        component.model_copy(
                            update={"image": f"{component.image.partition('@')[0]}@{other}"}
                        ),
                    ),
                }
            ),
        }
    )
    planned.releases["mine"] = by_hand
    urgent = planned.ask("mine", "dev", bypass=EMERGENCY)
    assert planned.phase(urgent) == PromotionPhase.WAITING
    assert "base images of component" in planned.status(urgent).message
    assert "Quarantine base-7" in planned.status(urgent).message
    planned.quarantines.clear()
    planned.settle()
    assert planned.phase(urgent) == PromotionPhase.ROLLING_OUT
