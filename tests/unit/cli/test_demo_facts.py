"""What the demo claims is judged by the objects, and each claim can be found false."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.build import Build
from upwell.api.codec import decode
from upwell.api.image import ImageStream
from upwell.api.meta import Resource, format_time
from upwell.cli.demo.facts import Publication, Story, reasons
from upwell.cli.demo.load import Tally
from upwell.cli.demo.observed import Observed
from upwell.oci import Digest

PUBLISHED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD, NEW = Digest.of(b"old base"), Digest.of(b"new base")
OLD_GLIBC, NEW_GLIBC = "2.31-13+deb11u11", "2.31-13+deb11u14"


def after(seconds: float) -> str:
    return format_time(PUBLISHED + timedelta(seconds=seconds))


def base(digest: Digest = NEW) -> Resource:
    event = {
        "created": after(1),
        "dockerImageReference": f"vendor/debian@{digest}",
        "image": str(digest),
    }
    return decode(
        {
            "apiVersion": ImageStream.KIND.api_version,
            "kind": "ImageStream",
            "metadata": {"name": "debian", "namespace": "default"},
            "status": {"tags": [{"tag": "11", "items": [event]}]},
        }
    )


def result(config: str, number: int) -> Digest:
    return Digest.of(f"{config} {number}".encode())


def build(config: str, number: int, began: float, phase: str = "Complete") -> Resource:
    change = {
        "imageID": f"vendor/debian@{NEW}",
        "fromRef": {"kind": "ImageStreamTag", "name": "debian:11"},
        "previousImageID": f"vendor/debian@{OLD}",
    }
    return decode(
        {
            "apiVersion": Build.KIND.api_version,
            "kind": "Build",
            "metadata": {
                "name": f"{config}-{number}",
                "namespace": "default",
                "labels": {"openshift.io/build-config.name": config},
                "annotations": {"openshift.io/build.number": str(number)},
            },
            "spec": {"triggeredBy": [{"message": "Image change", "imageChangeBuild": change}]},
            "status": {
                "phase": phase,
                "message": "assemble failed" if phase == "Failed" else None,
                "startTimestamp": after(began),
                "completionTimestamp": after(began + 2),
                "output": {"to": {"imageDigest": str(result(config, number))}},
            },
        }
    )


def workload(
    kind: type[Deployment | DeploymentConfig], number: int = 2, **status: object
) -> Resource:
    name = "shop" if kind is Deployment else "gate"
    revision: dict[str, Any] = {
        "revision": number,
        "hash": f"h{number}",
        "template": {},
        "created": after(5),
        "phase": "Complete",
        "images": {name: f"127.0.0.1:7080/default/{name}@{result(name, number)}"},
        "liveAt": after(6),
    }
    return decode(
        {
            "apiVersion": kind.KIND.api_version,
            "kind": kind.KIND.kind,
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 2},
            "status": {
                "replicas": 2,
                "readyReplicas": 2,
                "updatedReplicas": 2,
                "revisions": [revision],
                **status,
            },
        }
    )


def tally(host: str) -> Tally:
    found = Tally(host)
    for second, version in ((-1, OLD_GLIBC), (7, NEW_GLIBC), (8, OLD_GLIBC), (9, NEW_GLIBC)):
        found.answered(version, PUBLISHED + timedelta(seconds=second))
    return found


@pytest.fixture
def story() -> Story:
    observed = Observed()
    for resource in (
        base(),
        *(build(config, 1, -60) for config in ("python-builder", "shop", "gate")),
        build("python-builder", 2, 1.5),
        build("gate", 2, 2.1),
        build("shop", 2, 4),
        workload(Deployment),
        workload(DeploymentConfig),
    ):
        observed.add(resource)
    before = frozenset({"python-builder-1", "shop-1", "gate-1"})
    publication = Publication(PUBLISHED, OLD, NEW, OLD_GLIBC, NEW_GLIBC, before)
    return Story(publication, observed, {name: tally(name) for name in ("shop", "gate")})


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
