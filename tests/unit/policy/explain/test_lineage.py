"""Lineage of the images of a stage, back to the promotion that let them in."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.codec import decode
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Freshness, Snapshot
from upwell.policy.explain.graph import EdgeRole
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.settings import Workload

STAGE = "stage production of pipeline shop/shop"
API = "upwell.dev/v1alpha1"
IMAGES = {number: f"registry.test/shop@sha256:{str(number) * 64}" for number in (1, 2, 3)}
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(minute: int) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


def of(kind: str, name: str, api: str = API, **parts: Any) -> Resource:
    metadata = {"name": name, "namespace": "shop", "creationTimestamp": at(0)}
    return decode({"apiVersion": api, "kind": kind, "metadata": metadata, **parts})


def pipeline(*, manual: bool = False, **production: Any) -> Resource:
    """Return a Pipeline dev -> staging -> production (Deployment shop); `production` is status."""
    stages: list[dict[str, Any]] = [{"name": "dev"}, {"name": "staging"}, {"name": "production"}]
    stages[2] |= {"workloads": [{"name": "shop"}]} | ({"promotion": "Manual"} if manual else {})
    spec = {
        "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}}],
        "stages": stages,
    }
    return of(
        "Pipeline", "shop", spec=spec, status={"stages": [{"name": "production", **production}]}
    )


def release(number: int, **status: Any) -> Resource:
    component = {
        "name": "web",
        "image": IMAGES[number],
        "build": f"shop/shop-{number}",
        "revision": "0123456789abcdef",
        "bases": [{"image": "debian:12", "digest": f"sha256:{'a' * 64}"}],
    }
    spec = {"pipeline": "shop", "number": number, "components": [component], "cause": "new base"}
    return of("Release", f"shop-{number}", spec=spec, status=status)


def promotion(name: str, minute: int, phase: str = "Succeeded", **parts: Any) -> Resource:
    status = parts.pop("status", {})
    moved, stage, *_ = name.split(".")
    spec = {"pipeline": "shop", "release": moved, "stage": stage, **parts}
    times = {"started": at(minute), "servingSince": at(minute), "ended": at(minute + 1)}
    return of("Promotion", name, spec=spec, status={"phase": phase, **times, **status})


def deployment(number: int) -> Resource:
    container = {"name": "web", "image": IMAGES[number]}
    revision = {
        "revision": 1,
        "hash": "1",
        "phase": "Complete",
        "created": at(0),
        "images": {"web": IMAGES[number]},
        "template": {},
    }
    return of(
        "Deployment",
        "shop",
        "apps/v1",
        spec={"replicas": 1, "template": {"spec": {"containers": [container]}}},
        status={"revisions": [revision], "readyReplicas": 1, "updatedReplicas": 1},
    )


def told(*objects: Resource) -> list[Statement]:
    workload = next(one for one in objects if one.KIND.kind == "Deployment")
    return explain(Snapshot(objects), workload)


def texts(statements: list[Statement], topic: Topic) -> list[str]:
    return [one.text for one in statements if one.topic is topic]


PASSED = {"name": "smoke", "phase": "Passed", "message": "200", "by": "ci", "run": "b7"}
VOTE = {"by": "ada", "approved": True, "at": at(4), "comment": "seen"}
VERIFIED = [
    {"name": name, "at": at(minute), "promotion": f"shop-2.{name}"}
    for minute, name in ((2, "dev"), (4, "staging"), (6, "production"))
]


def test_what_runs_is_followed_back_to_approvals_tests_and_source() -> None:
    statements = told(
        pipeline(release="shop-2"),
        release(1),
        release(2, verified=VERIFIED),
        promotion("shop-2.dev", 1, status={"checks": [PASSED]}),
        promotion("shop-2.staging", 3, status={"votes": [VOTE]}),
        promotion("shop-2.production", 5, requestedBy="ci", reason="nightly"),
        deployment(2),
    )

    assert texts(statements, Topic.IMAGE) == [
        f"container web runs 222222222222, component web of release shop-2 in {STAGE}",
        f"it is based on debian:12, sha256:{'a' * 64}",
    ]
    assert texts(statements, Topic.RELEASE) == ["release shop-2 was made: new base"]
    [brought] = texts(statements, Topic.PROMOTION)
    assert brought == (
        "promotion shop-2.production brought it into stage production, Succeeded;"
        " ci asked for it: nightly"
    )
    assert texts(statements, Topic.TEST) == [
        "verified in staging by promotion shop-2.staging",
        "verified in dev by promotion shop-2.dev",
        "check smoke Passed, told by ci (run b7): 200",
    ]
    assert texts(statements, Topic.APPROVAL) == ["ada approved it: seen"]
    assert texts(statements, Topic.COMMIT) == ["commit 0123456789ab"]
    assert texts(statements, Topic.NEXT) == [f"nothing is due: {STAGE} has the newest Release"]


def test_an_emergency_and_a_rollback_are_told_as_such() -> None:
    urgent = promotion("shop-2.production", 5, requestedBy="ada", bypass="CVE is exploited")
    back = promotion("shop-1.production.2", 7, requestedBy="bob", reason="slow", purpose="RollBack")
    first = promotion("shop-1.production", 1)
    here = [release(1), release(2), urgent, first]

    forth = told(pipeline(release="shop-2"), *here, deployment(2))
    again = told(pipeline(release="shop-1"), *here, back, deployment(1))

    assert texts(forth, Topic.APPROVAL) == [
        "emergency, past order, approval and windows: CVE is exploited"
    ]
    [rolled] = texts(again, Topic.PROMOTION)
    assert rolled == (
        "promotion shop-1.production.2 rolled stage production back to it, Succeeded;"
        " bob asked for it: slow"
    )


def test_what_a_failure_put_back_says_which() -> None:
    failed = promotion(
        "shop-2.production", 5, "Failed", status={"lastGood": "shop-1", "message": "smoke failed"}
    )
    statements = told(
        pipeline(release="shop-1"),
        release(1),
        release(2, rejection={"reason": "smoke failed", "at": at(6)}),
        promotion("shop-1.production", 1),
        failed,
        deployment(1),
    )

    assert texts(statements, Topic.PROMOTION)[0] == (
        "it was restored when promotion shop-2.production failed: smoke failed"
    )
    assert texts(statements, Topic.NEXT), "a rejected Release is nothing to be behind of"


def test_an_image_that_no_release_has_is_said_to_be_none() -> None:
    statements = told(pipeline(release="shop-1"), release(1), deployment(3))

    assert texts(statements, Topic.IMAGE) == [
        f"container web runs 333333333333, which no known Release of {STAGE} has"
    ]


@pytest.mark.parametrize(
    ("status", "held"),
    [
        (
            {"waitsFor": "shop-3 to be verified in staging"},
            ["behind by 1: shop-3 to be verified in staging"],
        ),
        (
            {"waitsFor": "a hold", "hold": "audit"},
            [f"{STAGE} is held: audit", "behind by 1: a hold"],
        ),
    ],
)
def test_what_is_behind_says_by_how_much_and_why(status: dict[str, Any], held: list[str]) -> None:
    objects = [release(2), release(3), promotion("shop-2.production", 5), deployment(2)]

    statements = told(pipeline(release="shop-2", **status), *objects)

    assert texts(statements, Topic.HELD) == held


@pytest.mark.parametrize("manual", [False, True])
def test_a_stage_joins_the_tag_to_its_workloads(*, manual: bool) -> None:
    graph = Snapshot([pipeline(manual=manual), deployment(1)]).graph

    [edge] = graph.inputs(ObjectKey("Deployment", "shop", "shop"))
    assert (edge.source, edge.role) == (StreamTag("shop", "shop", "latest"), EdgeRole.PROMOTE)
    assert edge.automatic is not manual


def test_workloads_of_other_namespaces_and_names_are_none_of_the_stage() -> None:
    other = deployment(1)
    away = other.with_metadata(namespace="bank")
    renamed = other.with_metadata(name="cart")
    lineage = Snapshot([pipeline()]).lineage

    assert lineage.placement(other) is not None
    assert lineage.placement(away) is None
    assert lineage.placement(renamed) is None


def rival(age: int, **stage: Any) -> Resource:
    """Return a Pipeline of another name with the same Deployment, made `age` minutes later."""
    spec = {
        "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "bad:latest"}}],
        "stages": [{"name": "live", "workloads": [{"name": "shop"}], **stage}],
    }
    return of("Pipeline", "bad", spec=spec).with_metadata(
        creation_timestamp=START + timedelta(minutes=age)
    )


@pytest.mark.parametrize("age", [-1, 1])
def test_a_workload_of_two_pipelines_is_placed_by_its_owner_alone(age: int) -> None:
    owner, waiting = (pipeline(), rival(age)) if age > 0 else (rival(age), pipeline())
    for objects in ([owner, waiting], [waiting, owner]):
        snapshot = Snapshot([*objects, deployment(1)])
        place = snapshot.lineage.placement(deployment(1))
        assert place is not None
        assert place.pipeline.key == owner.key
        [edge] = snapshot.graph.inputs(ObjectKey("Deployment", "shop", "shop"))
        assert edge.source == StreamTag("shop", owner.name, "latest")

        [held] = texts(explain(snapshot, waiting), Topic.HELD)
        assert held.startswith("waits for its workloads: Deployment shop/shop belongs to stage ")
        assert f"of {owner.key}: take it out of that stage first" in held
        assert texts(explain(snapshot, owner), Topic.RUNNING)[-1:] == ["nothing is wrong with it"]


def test_who_has_set_a_workload_before_keeps_it() -> None:
    workload = deployment(1)
    note = json.dumps({"pipeline": "shop/bad", "stage": "live"})
    workload = workload.with_metadata(annotations={PROMOTED_ANNOTATION: note})
    place = Snapshot([pipeline(), rival(1), workload]).lineage.placement(workload)
    assert place is not None
    assert place.pipeline.name == "bad"


NOTE = {"pipeline": "ci/web", "stage": "production", "release": "web-1", "containers": ["web"]}
SET_ASIDE = {"type": "ImageTriggered", "status": "False", "reason": "Pipeline", "message": "set"}
PAUSED = {**SET_ASIDE, "reason": "Paused"}


def promoted(*conditions: dict[str, Any], **annotations: str) -> Workload:
    """Return a Deployment whose annotations and conditions a Pipeline elsewhere has left."""
    workload = deployment(1).with_metadata(annotations=annotations)
    assert isinstance(workload, Deployment)
    told = tuple(Condition.model_validate(one) for one in conditions)
    return workload.with_status(workload.status.model_copy(update={"conditions": told}))


def noted(note: dict[str, Any]) -> dict[str, str]:
    return {PROMOTED_ANNOTATION: json.dumps(note)}


@pytest.mark.parametrize(
    ("workload", "stage"),
    [
        (promoted(**noted(NOTE)), "stage production of pipeline ci/web"),
        (promoted(SET_ASIDE, **noted(NOTE)), "stage production of pipeline ci/web"),
        (promoted(SET_ASIDE), "a stage of a Pipeline"),
    ],
)
def test_who_cannot_read_the_pipeline_is_not_told_that_all_is_current(
    workload: Workload, stage: str
) -> None:
    snapshot = Snapshot([workload], "shop")

    statements = explain(snapshot, workload)
    tree = StatusTree(snapshot, START, "shop")

    why = f"{stage} sets its images, and your token cannot read it"
    assert f"container web runs {'1' * 12}; {stage} sets it" in texts(statements, Topic.IMAGE)
    assert texts(statements, Topic.NEXT) == [f"whether anything newer waits is unknown: {why}"]
    assert [line for line in tree.lines() if line.endswith(f"unknown: {why}")]
    text = "0 of 1 workloads run the newest of what they follow; of 1 that is unknown"
    assert str(tree.counts()) == text
    assert tree.data()["nodes"][-1]["behind"] is None


@pytest.mark.parametrize(
    ("workload", "namespace"),
    [
        (promoted(**noted(NOTE)), ""),
        (promoted(**noted({**NOTE, "pipeline": "shop/web"})), "shop"),
        (promoted(PAUSED, **noted(NOTE)), "shop"),
        (promoted(**{PROMOTED_ANNOTATION: "[]"}), "shop"),
    ],
)
def test_a_note_of_a_pipeline_that_sets_nothing_any_more_hides_nothing(
    workload: Workload, namespace: str
) -> None:
    assert Snapshot([workload], namespace).workload_freshness(workload) == Freshness()


@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        ([], "unknown: your token cannot read ImageStreamTag infra/base:1"),
        ([{**SET_ASIDE, "status": "True", "reason": "Resolved"}], "current"),
    ],
)
def test_a_followed_tag_that_cannot_be_read_is_as_the_server_says(
    conditions: list[dict[str, Any]], text: str
) -> None:
    source = {"kind": "ImageStreamTag", "name": "base:1", "namespace": "infra"}
    path = 'spec.template.spec.containers[?(@.name=="web")].image'
    triggers = json.dumps([{"from": source, "fieldPath": path}])
    workload = promoted(*conditions, **{TRIGGERS_ANNOTATION: triggers})

    assert str(Snapshot([workload], "shop").workload_freshness(workload)) == text
