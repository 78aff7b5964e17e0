"""The progress of the demo as made-up objects: all went well, and tests spoil it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.codec import decode
from upwell.api.image import ImageStream
from upwell.api.meta import Resource, format_time
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.demo.load import LoadStats
from upwell.cli.demo.observed import STAGES, Observed
from upwell.cli.demo.progress import FixProgress, Publication
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


def build(
    config: str, number: int, began: float, phase: str = "Complete", *, rebased: bool = True
) -> Resource:
    """Return a build; those of `gate` are rebases, unless that is not safe."""
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
                "rebase": {"rebased": rebased, "message": None if rebased else "it is not safe"}
                if config == "gate"
                else None,
            },
        }
    )


def workload(
    kind: type[Deployment | DeploymentConfig],
    number: int = 2,
    stage: str = "production",
    **status: object,
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
            "metadata": {"name": name, "namespace": stage},
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


def release(application: str, number: int, rejected: str = "") -> Resource:
    image = f"127.0.0.1:7080/default/{application}@{result(application, number)}"
    rejection = {"reason": rejected, "stage": "dev", "at": after(9)} if rejected else None
    return decode(
        {
            "apiVersion": Release.KIND.api_version,
            "kind": "Release",
            "metadata": {"name": f"{application}-{number}", "namespace": "default"},
            "spec": {
                "pipeline": application,
                "number": number,
                "components": [{"name": application, "image": image}],
            },
            "status": {"rejection": rejection},
        }
    )


def promotion(
    application: str, stage: str, began: float, phase: str = "Succeeded", check: str = "Passed"
) -> Resource:
    """Return the promotion of an application's second Release, which takes a second."""
    return decode(
        {
            "apiVersion": Promotion.KIND.api_version,
            "kind": "Promotion",
            "metadata": {"name": f"{application}-2.{stage}", "namespace": "default"},
            "spec": {"pipeline": application, "release": f"{application}-2", "stage": stage},
            "status": {
                "phase": phase,
                "message": "" if phase == "Succeeded" else "check in-situ: exit code 1",
                "started": after(began),
                "servingSince": after(began + 0.5),
                "ended": after(began + 1),
                "checks": [{"name": "in-situ", "phase": check}],
            },
        }
    )


def load_stats(host: str, *, fixed: bool = True) -> LoadStats:
    found = LoadStats(host)
    new = NEW_GLIBC if fixed else OLD_GLIBC
    for second, version in ((-1, OLD_GLIBC), (7, new), (8, OLD_GLIBC), (9.5, new)):
        found.answered(version, PUBLISHED + timedelta(seconds=second))
    return found


def successful_progress() -> FixProgress:
    """Return a progress whose claims all hold: the fix is in production."""
    return _progress(
        *_promoted("shop", Deployment),
        *_promoted("gate", DeploymentConfig),
        load_stats={name: load_stats(name) for name in ("shop", "gate")},
    )


def rejected_progress() -> FixProgress:
    """Return the other one: `gate` failed its tests, and `shop` went on."""
    return _progress(
        *_promoted("shop", Deployment),
        *(workload(DeploymentConfig, 1, stage) for stage in STAGES),
        release("gate", 1),
        release("gate", 2, rejected="check in-situ: exit code 1"),
        promotion("gate", "dev", 6, phase="Failed", check="Failed"),
        load_stats={"shop": load_stats("shop"), "gate": load_stats("gate", fixed=False)},
    )


def _promoted(application: str, kind: type[Deployment | DeploymentConfig]) -> Iterator[Resource]:
    yield pipeline(application)
    yield release(application, 1)
    yield release(application, 2)
    for began, stage in enumerate(STAGES, 6):
        yield promotion(application, stage, began)
        yield workload(kind, 2, stage)


def pipeline(application: str, *, verified: bool = True) -> Resource:
    stages = [
        {"name": name, "release": f"{application}-2", "verified": verified} for name in STAGES
    ]
    return decode(
        {
            "apiVersion": Pipeline.KIND.api_version,
            "kind": "Pipeline",
            "metadata": {"name": application, "namespace": "default"},
            "status": {"latestRelease": f"{application}-2", "stages": stages},
        }
    )


def _progress(*promoted: Resource, load_stats: dict[str, LoadStats]) -> FixProgress:
    observed = Observed()
    for resource in (
        base(),
        *(build(config, 1, -60) for config in ("python-builder", "shop", "gate")),
        build("python-builder", 2, 1.5),
        build("gate", 2, 2.1),
        build("shop", 2, 4),
        *promoted,
    ):
        observed.add(resource)
    before = frozenset({"python-builder-1", "shop-1", "gate-1"})
    publication = Publication(PUBLISHED, OLD, NEW, OLD_GLIBC, NEW_GLIBC, before)
    return FixProgress(publication, observed, load_stats)
