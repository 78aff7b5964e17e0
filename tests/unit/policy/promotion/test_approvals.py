"""Approval: a quorum of people who count, a deadline, and what is said meanwhile."""

from datetime import timedelta

import pytest
from tests.support.promotion.planned_pipeline import START, PlannedPipeline

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Approval, Pipeline, PipelineSpec, Stage
from upwell.api.promotion import (
    APPROVED,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    ReleasePhase,
    Vote,
)
from upwell.api.values.author import with_author, with_writers
from upwell.policy.notifications.cloud_events import cloud_events
from upwell.policy.promotion.approval import Agreement, approval_of
from upwell.policy.promotion.four_eyes import involved


def waiting(**approval: object) -> PlannedPipeline:
    """Return a line whose only stage waits for approval."""
    planned = PlannedPipeline(Stage(name="live", approval=Approval.model_validate(approval)))
    planned.publish(1)
    return planned


def test_a_quorum_of_different_people_is_needed() -> None:
    planned = waiting(required=2)
    assert planned.status("shop-1.live").message == (
        "waits for approval: 0 of 2 approvals; `upwell approve shop-1.live` gives one"
    )
    planned.vote("shop-1.live", "ann")
    planned.vote("shop-1.live", "ann", comment="really")
    assert planned.phase("shop-1.live") == PromotionPhase.WAITING
    assert "1 of 2" in planned.status("shop-1.live").message
    planned.vote("shop-1.live", "bob")
    assert planned.phase("shop-1.live") == PromotionPhase.ROLLING_OUT
    assert planned.status("shop-1.live").message == "approved by ann, bob"


def test_only_those_named_count() -> None:
    planned = waiting(approvers=("ann",))
    planned.vote("shop-1.live", "mallory")
    planned.vote("shop-1.live", "eve", approved=False)
    assert planned.phase("shop-1.live") == PromotionPhase.WAITING
    planned.vote("shop-1.live", "ann")
    assert planned.phase("shop-1.live") == PromotionPhase.ROLLING_OUT


def test_one_refusal_rejects_the_release() -> None:
    planned = waiting(required=2)
    planned.vote("shop-1.live", "ann")
    planned.vote("shop-1.live", "bob", approved=False, comment="not on a Friday")
    assert planned.phase("shop-1.live") == PromotionPhase.REJECTED
    assert planned.status("shop-1.live").message == "refused by bob: not on a Friday"
    assert planned.releases["shop-1"].status.phase is ReleasePhase.REJECTED


def test_a_person_may_think_again_while_it_waits() -> None:
    planned = waiting(required=2)
    planned.vote("shop-1.live", "ann")
    planned.vote("shop-1.live", "ann", approved=False)
    assert planned.phase("shop-1.live") == PromotionPhase.REJECTED


def test_without_an_answer_in_time_it_is_rejected() -> None:
    planned = waiting(deadline_seconds=3600)
    assert planned.status("shop-1.live").until == START + timedelta(hours=1)
    planned.pass_time(minutes=59)
    assert planned.phase("shop-1.live") == PromotionPhase.WAITING
    planned.pass_time(minutes=1)
    assert planned.phase("shop-1.live") == PromotionPhase.REJECTED
    assert "not approved in time" in planned.status("shop-1.live").message


def test_or_it_waits_on_and_is_overdue() -> None:
    planned = waiting(deadline_seconds=3600, on_deadline="Wait")
    planned.pass_time(hours=2)
    assert planned.phase("shop-1.live") == PromotionPhase.WAITING
    assert "overdue since 2016-02-18 13:00 UTC" in planned.status("shop-1.live").message
    planned.vote("shop-1.live", "ann")
    assert planned.phase("shop-1.live") == PromotionPhase.ROLLING_OUT


def test_people_are_told_once_that_their_approval_is_missing() -> None:
    planned = waiting(required=2)
    planned.vote("shop-1.live", "ann")
    planned.pass_time(minutes=1)
    promotion = planned.promotions["shop-1.live"]
    [told] = [one for one in cloud_events(promotion) if one.type.endswith("approvalneeded")]
    assert told.time == START
    assert told.message == (
        "Promote of shop-1 in stage live waits for approval: 1 of 2 approvals;"
        " `upwell approve shop-1.live` gives one"
    )
    planned.vote("shop-1.live", "bob")
    assert not any(
        one.type.endswith("approvalneeded")
        for one in cloud_events(planned.promotions["shop-1.live"])
    )
    [given] = planned.status("shop-1.live").conditions
    assert (given.type, given.status) == (APPROVED, "True")


BOT = "system:serviceaccount:shop:bot"


def agreement(*voters: str, four_eyes: bool, required: int = 1, override: str = "") -> Agreement:
    """Return the result where these agree; `ada` has written a part of the Pipeline."""
    stage = Stage(name="live", approval=Approval(required=required, four_eyes=four_eyes))
    metadata = ObjectMeta(name="shop", namespace="shop", uid="u", generation=3)
    pipeline = Pipeline(metadata=metadata, spec=PipelineSpec(stages=(stage,)))
    pipeline = with_writers(with_author(pipeline, "adm"), {"adm": 0, "ada": 2})
    votes = tuple(
        Vote(by=one, approved=True, at=START, pipeline="u", override=override) for one in voters
    )
    spec = PromotionSpec(pipeline="shop", release="shop-1", stage="live")
    promotion = Promotion(metadata=ObjectMeta(name="shop-1.live", namespace="shop"), spec=spec)
    promotion = promotion.with_status(promotion.status.model_copy(update={"votes": votes}))
    others = involved(pipeline, stage, None, promotion, ())
    return approval_of(pipeline, stage, promotion, START, others).agreement


@pytest.mark.parametrize(
    ("voters", "required"),
    [
        (("ada",), 1),
        ((BOT,), 1),
        (("ada", BOT), 1),  # nobody but ada has looked
        (("ben", BOT), 2),
        ((BOT, "system:serviceaccount:shop:other"), 1),
    ],
)
def test_a_service_account_is_nobodys_eyes(voters: tuple[str, ...], required: int) -> None:
    assert agreement(*voters, required=required, four_eyes=True) is Agreement.OPEN


def test_it_counts_where_nobodys_eyes_are_asked_for_or_where_it_overrides_that() -> None:
    assert agreement("ben", BOT, required=2, four_eyes=False) is Agreement.AGREED
    assert agreement(BOT, four_eyes=True, override="at night") is Agreement.AGREED
    assert agreement("ben", four_eyes=True) is Agreement.AGREED
