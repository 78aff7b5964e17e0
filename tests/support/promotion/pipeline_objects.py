"""A Pipeline through which the fix of `fixed` is on its way: verified in dev, waits for staging."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.unit.cli.conftest import NEW, OLD, SHOP_IMAGE, SHOP_NEW, SHOP_OLD, deployment

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.api.promotion import Promotion, Release
from upwell.policy.promotion.releases import found_rejection, rejected
from upwell.policy.promotion.stages import STAGE_HOLD

if TYPE_CHECKING:
    from tests.unit.cli.conftest import FakeClient

HELD = f"{STAGE_HOLD}production"


def of(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, **parts.pop("metadata", {})}
    if kind not in {"Freeze", "Quarantine"}:
        metadata = {"namespace": "default", **metadata}
    return {"apiVersion": "upwell.dev/v1alpha1", "kind": kind, "metadata": metadata, **parts}


PIPELINE = of(
    "Pipeline",
    "shop",
    metadata={"annotations": {HELD: "audit"}},
    spec={
        "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}}],
        "stages": [
            {
                "name": "dev",
                "workloads": [{"name": "shop-dev"}],
                "verification": {"checks": [{"name": "integration", "webhook": {}}]},
            },
            {
                "name": "staging",
                "workloads": [{"name": "shop"}],
                "approval": {"required": 2, "approvers": ["ada", "bob"]},
            },
            {"name": "production", "workloads": [{"name": "shop-production"}]},
        ],
    },
    status={
        "latestRelease": "shop-2",
        "stages": [
            {
                "name": "dev",
                "release": "shop-2",
                "since": "2026-03-01T12:01:00Z",
                "verified": True,
                "lastGood": "shop-2",
            },
            {
                "name": "staging",
                "release": "shop-1",
                "since": "2026-03-01T11:05:00Z",
                "verified": True,
                "candidate": "shop-2",
                "promotion": "shop-2.staging",
                "waitsFor": "approval: 1 of 2 approvals",
                "until": "2026-03-01T14:05:00Z",
            },
            {"name": "production", "hold": "audit", "waitsFor": "shop-2 to be verified in staging"},
        ],
    },
)
"""As its controller would write it at 12:05."""


def release(number: int, image: str, base: str, **status: Any) -> dict[str, Any]:
    spec = {
        "pipeline": "shop",
        "number": number,
        "cause": "the first images" if number == 1 else "web: new base default/debian:11",
        "components": [
            {
                "name": "web",
                "image": f"{SHOP_IMAGE}@{image}",
                "build": f"default/shop-{number}",
                "revision": f"{number}" * 40,
                "bases": [{"image": "default/debian:11", "digest": base}],
            }
        ],
    }
    labels = {"labels": {"upwell.dev/pipeline": "shop"}}
    return of("Release", f"shop-{number}", metadata=labels, spec=spec, status=status)


def promotion(name: str, *, labels: bool = True, **parts: Any) -> dict[str, Any]:
    """Return the Promotion `RELEASE.STAGE`; `parts` are of its spec and `status`."""
    status = parts.pop("status", {})
    moved, stage, *_ = name.split(".")
    spec = {"pipeline": "shop", "release": moved, "stage": stage, **parts}
    metadata = {"labels": {"upwell.dev/pipeline": "shop"}} if labels else {}
    return of("Promotion", name, metadata=metadata, spec=spec, status=status)


def answer(name: str, phase: str, message: str = "") -> dict[str, Any]:
    """Return a Promotion as the server answers it."""
    document = promotion(name, status={"phase": phase, "message": message})
    assert isinstance(decode(document), Promotion)
    return document


def ended(at: str, **more: Any) -> dict[str, Any]:
    """Return the status of a Promotion that took a minute up to this time."""
    minute = int(at[3:5]) - 1
    return {
        "phase": "Succeeded",
        "started": f"2026-03-01T{at[:2]}:{minute:02}:00Z",
        "servingSince": f"2026-03-01T{at[:2]}:{minute:02}:30Z",
        "ended": f"2026-03-01T{at}:00Z",
        **more,
    }


PASSED = {
    "name": "integration",
    "phase": "Passed",
    "attempt": 2,
    "flaky": True,
    "message": "41 of 41",
    "by": "ci",
    "run": "b7",
    "ended": "2026-03-01T12:02:00Z",
    "evidence": [{"name": "junit.xml", "digest": "sha256:1"}, {"name": "7", "url": "https://ci/7"}],
}
WAITING = {
    "phase": "Waiting",
    "message": "waits for approval: 1 of 2 approvals",
    "votes": [{"by": "ada", "approved": True, "at": "2026-03-01T12:03:00Z", "comment": "go"}],
}
DOCUMENTS = (
    PIPELINE,
    release(
        1,
        SHOP_OLD,
        OLD,
        phase="Promoted",
        verified=[{"name": "staging", "at": "2026-03-01T11:05:00Z", "promotion": "shop-1.staging"}],
    ),
    release(
        2,
        SHOP_NEW,
        NEW,
        phase="Waiting",
        message="staging: approval",
        verified=[{"name": "dev", "at": "2026-03-01T12:02:00Z", "promotion": "shop-2.dev"}],
    ),
    promotion(
        "shop-1.staging",
        requestedBy="ci",
        reason="first",
        bypass="no staging yet",
        status=ended("11:05", votes=WAITING["votes"]),
    ),
    promotion("shop-2.dev", status=ended("12:02", checks=[PASSED])),
    promotion("shop-2.staging", status=WAITING),
)


async def put_promoted(client: "FakeClient") -> None:
    """Store the Pipeline, with its Releases; Deployment `shop` is staging's, and runs shop-1."""
    for document in DOCUMENTS:
        await client.put(document)
    running = deployment((1, "Complete", SHOP_OLD))
    running["metadata"].pop("annotations")
    await client.put_again(running)


def rejection_of(failed: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[Resource]:
    """Yield a promotion that has failed, and its Release, which was rejected for it."""
    promoted, found = decode(dict(failed)), decode(dict(made))
    assert isinstance(promoted, Promotion)
    assert isinstance(found, Release)
    why = found_rejection(found, [promoted])
    assert why is not None
    yield promoted
    yield rejected(found, why)
