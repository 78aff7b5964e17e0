"""Claims of the demo: each is judged by the objects, and can be found false."""

from collections.abc import Callable

import pytest
from tests.support.cli.demo_progress import (
    NEW,
    NEW_GLIBC,
    OLD,
    OLD_GLIBC,
    PUBLISHED,
    base,
    build,
    pipeline,
    promotion,
    rejected_progress,
    release,
    successful_progress,
    workload,
)

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.cli.demo.outcomes import ExpectedOutcome, FixInProduction, FixRejected
from upwell.cli.demo.progress import FixProgress, is_ready, reasons, standing

FIXED, REFUSED = FixInProduction(), FixRejected()


@pytest.fixture
def progress() -> FixProgress:
    return successful_progress()


@pytest.fixture
def refused() -> FixProgress:
    return rejected_progress()


def false(progress: FixProgress, outcome: ExpectedOutcome = FIXED) -> list[str]:
    return [claim.text for claim in outcome.claims(progress) if not claim.holds]


def test_all_claims_hold_when_all_went_well(progress: FixProgress) -> None:
    assert false(progress) == []
    assert FIXED.is_complete(progress)
    assert FIXED.failure(progress) == ""


def test_all_claims_hold_when_the_fix_was_refused(refused: FixProgress) -> None:
    assert false(refused, REFUSED) == []
    assert REFUSED.is_complete(refused)
    assert REFUSED.failure(refused) == ""


def test_neither_outcome_is_taken_for_the_other(
    progress: FixProgress, refused: FixProgress
) -> None:
    assert not FIXED.is_complete(refused)
    assert FIXED.failure(refused) == "gate-2.dev Failed: check in-situ: exit code 1"
    assert not REFUSED.is_complete(progress)
    assert REFUSED.failure(progress) == "gate-2 passed its tests in dev, but was expected to fail"


def test_the_timeline_is_in_order_and_leaves_out_what_was_before(progress: FixProgress) -> None:
    lines = [(progress.offset(point), point.what.split()[:2]) for point in progress.timeline()]
    assert lines == [
        (0.0, ["published", NEW.hex[:12]]),
        (1.0, ["detected", "debian:11"]),
        (1.5, ["building", "python-builder-2"]),
        (2.1, ["building", "gate-2"]),
        (3.5, ["built", "python-builder-2"]),
        (4.0, ["building", "shop-2"]),
        (4.1, ["built", "gate-2"]),
        (6.0, ["built", "shop-2"]),
        *(
            (offset, [step, f"{name}:"])
            for offset, step in (
                (6.5, "deployed"),
                (7.0, "tested"),
                (7.5, "deployed"),
                (8.0, "tested"),
                (8.5, "live"),
                (9.0, "tested"),
                (9.5, "verified"),
            )
            for name in ("shop", "gate")
        ),
    ]


def test_the_timeline_tells_what_was_refused_and_why(refused: FixProgress) -> None:
    lines = [point.what for point in refused.timeline()]
    assert "refused    gate: gate-2 in dev: check in-situ: exit code 1" in lines
    assert not any("gate" in what and "staging" in what for what in lines)


def test_each_build_says_which_digest_moved(progress: FixProgress) -> None:
    old, new = OLD.hex[:12], NEW.hex[:12]
    assert f"gate-2: debian:11 went from {old} to {new}; rebased" in list(reasons(progress))
    assert not any("-1:" in line for line in reasons(progress))


@pytest.mark.parametrize(
    ("spoil", "claims"),
    [
        (lambda s: s.observed.add(base(OLD)), [f"debian:11 is {NEW.hex[:12]}"]),
        (lambda s: s.observed.add(build("gate", 3, 8)), ["gate was built exactly once more"]),
        (
            lambda s: s.observed.add(build("gate", 2, 2.1, rebased=False)),
            ["gate was rebased: its own layers stand on the fixed base as they are"],
        ),
        (
            lambda s: s.observed.objects.pop(build("python-builder", 2, 0).key),
            ["python-builder was built exactly once more"],
        ),
        (
            lambda s: s.observed.add(build("python-builder", 2, 1, "Running")),
            ["python-builder was built exactly once more"],
        ),
        (
            lambda s: s.load_stats["shop"].answered("2.31-99", PUBLISHED),
            [f"shop went from glibc {OLD_GLIBC} to {NEW_GLIBC}"],
        ),
        (
            lambda s: s.observed.add(workload(Deployment, replicas=3)),
            ["shop runs that image alone in production"],
        ),
        (
            lambda s: s.observed.add(workload(DeploymentConfig, 1, "staging")),
            ["gate runs that image alone in staging"],
        ),
        (
            lambda s: s.observed.add(promotion("gate", "production", 6.9)),
            ["gate passed its tests in dev, then staging, then production"],
        ),
        (
            lambda s: s.observed.add(promotion("shop", "staging", 7, check="Inconclusive")),
            ["shop passed its tests in dev, then staging, then production"],
        ),
        (
            lambda s: s.observed.objects.pop(promotion("shop", "dev", 0).key),
            ["shop passed its tests in dev, then staging, then production"],
        ),
        (
            lambda s: s.load_stats["gate"].lost("reset", PUBLISHED),
            ["no request failed in production"],
        ),
    ],
)
def test_each_claim_can_be_found_false(
    progress: FixProgress, spoil: Callable[[FixProgress], object], claims: list[str]
) -> None:
    spoil(progress)
    assert false(progress) == claims


@pytest.mark.parametrize(
    ("spoil", "claims"),
    [
        (
            lambda s: s.observed.add(release("gate", 2)),
            ["gate failed its tests in dev, and its Release is rejected"],
        ),
        (
            lambda s: s.observed.add(promotion("gate", "dev", 6, "Failed", "Inconclusive")),
            ["gate failed its tests in dev, and its Release is rejected"],
        ),
        (
            lambda s: s.observed.add(workload(DeploymentConfig, 2, "dev")),
            ["gate is back on the Release before in dev"],
        ),
        (
            lambda s: s.observed.add(promotion("gate", "staging", 8, "Waiting", "Pending")),
            ["staging has seen nothing of it"],
        ),
        (
            lambda s: s.observed.add(workload(DeploymentConfig, 2)),
            ["production has seen nothing of it"],
        ),
        (
            lambda s: s.load_stats["gate"].answered(NEW_GLIBC, PUBLISHED),
            [f"gate answered with glibc {OLD_GLIBC} throughout"],
        ),
    ],
)
def test_each_claim_about_what_was_refused_can_be_found_false(
    refused: FixProgress, spoil: Callable[[FixProgress], object], claims: list[str]
) -> None:
    spoil(refused)
    assert false(refused, REFUSED) == claims


def test_an_answer_of_the_old_version_keeps_the_outcome_open(progress: FixProgress) -> None:
    progress.load_stats["shop"].answered(OLD_GLIBC, PUBLISHED)
    assert not FIXED.is_complete(progress)
    assert not any("verified   shop" in point.what for point in progress.timeline())


@pytest.mark.parametrize("outcome", [FIXED, REFUSED])
def test_a_failed_build_ends_the_wait(progress: FixProgress, outcome: ExpectedOutcome) -> None:
    progress.observed.objects.pop(promotion("gate", "dev", 0).key)
    progress.observed.add(build("shop", 2, 4, "Failed"))
    assert outcome.failure(progress) == "build shop-2 Failed: assemble failed"


def test_the_fix_is_published_once_every_stage_is_tested(progress: FixProgress) -> None:
    assert is_ready(progress.observed)
    progress.observed.add(pipeline("gate", verified=False))
    assert not is_ready(progress.observed)


def test_what_does_not_answer_is_told_by_its_builds_and_promotions(refused: FixProgress) -> None:
    told = standing(refused.observed)
    assert "build gate-2 Complete" in told
    assert "promotion gate-2.dev Failed: check in-situ: exit code 1" in told
