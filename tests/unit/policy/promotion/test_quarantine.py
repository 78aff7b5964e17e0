"""A base image is quarantined when enough Pipelines fail on it, and it was new to them."""

from tests.support.promotion.planned_pipeline import PlannedPipeline, pipeline

from upwell.api.pipeline import Quarantine
from upwell.api.promotion import Rejection, Release
from upwell.policy.promotion.quarantine import quarantines

BAD = f"sha256:{9:064x}"


def release(name: str, *, by: str = "", base: int = 9, before: int = 1) -> list[Release]:
    """Return the Releases of a Pipeline: one that was verified, and one that was rejected."""
    planned = PlannedPipeline()
    planned.pipeline = pipeline(*planned.pipeline.spec.stages, name=name)
    planned.publish(1, base=before)
    planned.succeed(f"{name}-1.dev")
    planned.publish(2, base=base)
    if by:
        bad = planned.releases[f"{name}-2"]
        rejection = Rejection(reason="no", by=by, at=planned.now)
        status = bad.status.model_copy(update={"rejection": rejection})
        planned.releases[bad.name] = bad.with_status(status)
    else:
        planned.fail(f"{name}-2.dev")
    return list(planned.releases.values())


def found(threshold: int, *all_releases: list[Release]) -> list[Quarantine]:
    """Return what is quarantined once the last Release of the last Pipeline is rejected."""
    rejected = all_releases[-1][-1]
    everywhere = [one for releases in all_releases for one in releases]
    asked = pipeline(name=rejected.spec.pipeline, quarantine_after=threshold)
    return list(quarantines(asked, rejected, everywhere))


def test_the_second_pipeline_that_fails_quarantines_the_new_base() -> None:
    (made,) = found(2, release("shop"), release("gate"))
    assert made.spec.digest == BAD
    assert made.spec.image == "debian:11"
    assert made.spec.releases == ("shop/gate-2", "shop/shop-2")
    assert made.name.startswith("base-")


def test_one_that_fails_is_to_blame_itself() -> None:
    assert found(2, release("shop")) == []


def test_a_base_that_is_not_new_is_not_to_blame() -> None:
    assert found(2, release("shop", base=1), release("gate", base=1)) == []


def test_other_bases_do_not_count() -> None:
    assert found(2, release("shop", base=8), release("gate")) == []


def test_what_a_person_rejects_says_nothing_of_the_base() -> None:
    assert found(2, release("shop", by="ann"), release("gate")) == []


def test_a_pipeline_may_leave_quarantine_alone_or_want_it_at_once() -> None:
    assert found(0, release("shop"), release("gate")) == []
    (made,) = found(1, release("shop"))
    assert made.spec.digest == BAD
