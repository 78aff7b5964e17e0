"""Rejections by hand, their end, and the hold on a stage."""

from datetime import timedelta

from tests.support.promotion.planned_pipeline import START, PlannedPipeline

from upwell.api.meta import ObjectMeta
from upwell.api.promotion import (
    Component,
    Promotion,
    PromotionStatus,
    Rejection,
    Release,
    ReleasePhase,
    ReleaseSpec,
)
from upwell.policy.promotion.releases import (
    rejected,
    restoration_time,
    restored,
    with_same_images,
)
from upwell.policy.promotion.stages import has_hold, hold_of, with_hold

BAD = Rejection(reason="it loses orders", by="ann", at=START)


def release(name: str, image: str) -> Release:
    component = Component(name="web", image=f"registry/web@sha256:{image * 64}")
    return Release(metadata=ObjectMeta(name=name), spec=ReleaseSpec(components=(component,)))


def test_the_first_rejection_stands() -> None:
    once = rejected(release("shop-1", "a"), BAD)
    assert (once.status.phase, once.status.message) == (ReleasePhase.REJECTED, "it loses orders")
    assert rejected(once, Rejection(reason="another", by="bob", at=START)) is once


def test_a_restored_release_waits_again_and_says_who_restored_it() -> None:
    back = restored(rejected(release("shop-1", "a"), BAD), "ann", "a false alarm", START)
    assert (back.status.phase, back.status.rejection) == (ReleasePhase.WAITING, None)
    assert (back.status.restored, back.status.message) == (
        START,
        "restored by ann: a false alarm",
    )
    assert restored(back, "bob", "once more", START) is back


def test_a_restoration_comes_after_every_failure_whatever_the_clock_says() -> None:
    later = START + timedelta(hours=1)
    ended = Promotion(status=PromotionStatus(ended=later))
    assert restoration_time(START, [ended, Promotion()]) == later
    assert restoration_time(START, []) == START


def test_releases_of_the_same_images_share_a_fate() -> None:
    asked, same, other = (release(*one) for one in (("1", "a"), ("2", "a"), ("3", "b")))
    assert with_same_images(asked, [asked, same, other]) == [same]


def test_a_new_hold_has_no_end_left_of_an_earlier_one() -> None:
    planned = PlannedPipeline()
    planned.annotate(**{"stage-hold-until.upwell.dev/dev": START.isoformat(), "team": "shop"})
    held = with_hold(planned.pipeline, "dev", "rolled back")
    [dev] = [stage for stage in held.spec.stages if stage.name == "dev"]
    assert (has_hold(held, dev), hold_of(held, dev, (), START)) == (True, "rolled back")
    assert held.annotations["team"] == "shop"
    assert not has_hold(planned.pipeline, dev)
