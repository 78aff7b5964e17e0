"""The story of the demo as made-up objects: all went well, and tests spoil it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.build import Build
from upwell.api.codec import decode
from upwell.api.image import ImageStream
from upwell.api.meta import Resource, format_time
from upwell.cli.demo.facts import Publication, Story
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


def good_story() -> Story:
    """Return a story whose claims all hold."""
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
