"""What the demo claims is judged by the objects, and each claim can be found false."""

from collections.abc import Callable

import pytest
from tests.unit.cli.demo_story import (
    NEW,
    NEW_GLIBC,
    OLD,
    OLD_GLIBC,
    PUBLISHED,
    base,
    build,
    good_story,
    workload,
)

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.cli.demo.facts import Story, reasons


@pytest.fixture
def story() -> Story:
    return good_story()


def false(story: Story) -> list[str]:
    return [claim.text for claim in story.claims() if not claim.holds]


def test_all_claims_hold_when_all_went_well(story: Story) -> None:
    assert false(story) == []
    assert story.is_over()
    assert story.broken() == ""


def test_the_timeline_is_in_order_and_leaves_out_what_was_before(story: Story) -> None:
    told = [(story.offset(moment), moment.what.split()[:2]) for moment in story.timeline()]
    assert told == [
        (0.0, ["published", NEW.hex[:12]]),
        (1.0, ["detected", "debian:11"]),
        (1.5, ["building", "python-builder-2"]),
        (2.1, ["building", "gate-2"]),
        (3.5, ["built", "python-builder-2"]),
        (4.0, ["building", "shop-2"]),
        (4.1, ["built", "gate-2"]),
        (6.0, ["built", "shop-2"]),
        (6.0, ["live", "shop:"]),
        (6.0, ["live", "gate:"]),
        (9.0, ["verified", "shop:"]),
        (9.0, ["verified", "gate:"]),
    ]


def test_each_build_says_which_digest_moved(story: Story) -> None:
    old, new = OLD.hex[:12], NEW.hex[:12]
    assert f"gate-2: debian:11 went from {old} to {new}" in list(reasons(story))
    assert not any("-1:" in line for line in reasons(story))


@pytest.mark.parametrize(
    ("spoil", "claims"),
    [
        (lambda s: s.observed.add(base(OLD)), [f"debian:11 is {NEW.hex[:12]}"]),
        (lambda s: s.observed.add(build("gate", 3, 8)), ["gate was built exactly once more"]),
        (
            lambda s: s.observed.objects.pop(build("python-builder", 2, 0).key),
            ["python-builder was built exactly once more"],
        ),
        (
            lambda s: s.observed.add(build("python-builder", 2, 1, "Running")),
            ["python-builder was built exactly once more"],
        ),
        (
            lambda s: s.tallies["shop"].answered("2.31-99", PUBLISHED),
            [f"shop went from glibc {OLD_GLIBC} to {NEW_GLIBC}"],
        ),
        (
            lambda s: s.observed.add(workload(Deployment, replicas=3)),
            ["shop is rolled out, and no old instance is left"],
        ),
        (
            lambda s: s.observed.add(workload(DeploymentConfig, number=1)),
            ["gate is rolled out, and no old instance is left"],
        ),
        (lambda s: s.tallies["gate"].lost("reset", PUBLISHED), ["no request failed"]),
    ],
)
def test_each_claim_can_be_found_false(
    story: Story, spoil: Callable[[Story], object], claims: list[str]
) -> None:
    spoil(story)
    assert false(story) == claims


def test_an_answer_of_the_old_version_keeps_the_story_open(story: Story) -> None:
    story.tallies["shop"].answered(OLD_GLIBC, PUBLISHED)
    assert not story.is_over()
    assert not any("verified   shop" in moment.what for moment in story.timeline())


def test_a_failed_build_ends_the_wait(story: Story) -> None:
    story.observed.add(build("shop", 2, 4, "Failed"))
    assert story.broken() == "build shop-2 Failed: assemble failed"
