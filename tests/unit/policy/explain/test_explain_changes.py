"""Workloads and builds that are behind, their reasons to wait, and the explanation."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildTriggerCause
from upwell.api.codec import decode, decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Freshness, Snapshot, short
from upwell.policy.explain.package_changes import PackageChange, package_changes
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.rollouts.summary import RolloutState, rollout_of

NS = "default"
BASE = [f"sha256:{digit * 64}" for digit in "0123"]
"""The vendor's image, oldest first."""
SHOP = [f"sha256:{digit * 64}" for digit in "abcd"]
"""Images that shop-1 to shop-4 made of them."""


def of(api: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NS, "generation": 1} | rest.pop("metadata", {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def stream(name: str, tag: str, digests: list[str], **history: Any) -> ImageStream:
    items = [
        {
            "created": "2026-03-01T11:00:00Z",
            "dockerImageReference": f"x.test/{name}@{digest}",
            "image": digest,
        }
        for digest in reversed(digests)
    ]
    status = {"tags": [{"tag": tag, "items": items, **history}]}
    document = of("image.openshift.io/v1", "ImageStream", name, status=status)
    return decode_as(ImageStream, document)


def debian(digests: list[str], **history: Any) -> ImageStream:
    state = {"source": "vendor.test/debian:11", "nextCheckTime": "2026-03-01T12:00:00Z"}
    return stream("debian", "11", digests, importState=state, **history)


def config(**more: Any) -> Resource:
    spec = {
        "strategy": {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "debian:11"}}},
        "output": {"to": {"kind": "ImageStreamTag", "name": "shop:latest"}},
        "triggers": [{"type": "ImageChange", "imageChange": {}}],
    }
    return decode(of("build.openshift.io/v1", "BuildConfig", "shop", spec=spec, **more))


def build(number: int, phase: str = "Complete", **status: Any) -> Build:
    """Build `shop-<number>` from the base of that number; earlier bases come before it."""
    reference = {"kind": "ImageStreamTag", "namespace": NS, "name": "debian:11"}
    image = f"x.test/debian@{BASE[number - 1]}"
    change = {"fromRef": reference, "imageID": image}
    if number > 1:
        change["previousImageID"] = f"x.test/debian@{BASE[number - 2]}"
    output = {"to": {"imageDigest": SHOP[number - 1]}} if phase == "Complete" else {}
    return decode_as(
        Build,
        of(
            "build.openshift.io/v1",
            "Build",
            f"shop-{number}",
            metadata={
                "labels": {"openshift.io/build-config.name": "shop"},
                "annotations": {"openshift.io/build.number": str(number)},
            },
            spec={
                "triggeredBy": [{"message": "Image change", "imageChangeBuild": change}],
                "imageInputs": [{"from": reference, "image": image}],
            },
            status={"phase": phase, "output": output, **status},
        ),
    )


def deployment(*phases: str, annotations: dict[str, str] | None = None, **status: Any) -> Resource:
    """Deployment `shop`, whose revisions 1, 2, … run what shop-1, shop-2, … made."""
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": "shop:latest"},
        "fieldPath": "spec.template.spec.containers[0].image",
    }
    revisions = [
        {
            "revision": number,
            "hash": str(number),
            "phase": phase,
            "created": "2026-03-01T11:30:00Z",
            "template": {},
            "images": {"web": f"x.test/shop@{SHOP[number - 1]}"},
        }
        for number, phase in enumerate(phases, 1)
    ]
    return decode(
        of(
            "apps/v1",
            "Deployment",
            "shop",
            metadata={
                "annotations": {"image.openshift.io/triggers": json.dumps([trigger])}
                | (annotations or {})
            },
            spec={"replicas": 2, "template": {"spec": {"containers": [{"name": "web"}]}}},
            status={
                "observedGeneration": 1,
                "readyReplicas": 2,
                "updatedReplicas": 2,
                "revisions": revisions[::-1],
                **status,
            },
        )
    )


def standing(workload: Resource, *others: Resource) -> Freshness:
    snapshot = Snapshot([workload, *others])
    return snapshot.workload_freshness(snapshot.workloads[workload.key])


def texts(statements: list[Statement], topic: Topic) -> list[str]:
    return [statement.text for statement in statements if statement.topic is topic]


def test_a_workload_that_runs_the_newest_of_everything_is_current() -> None:
    found = standing(
        deployment("Complete"),
        debian(BASE[:1]),
        config(),
        build(1),
        stream("shop", "latest", SHOP[:1]),
    )

    assert found == Freshness()
    assert str(found) == "current"


def test_a_workload_behind_a_running_build_names_the_build() -> None:
    found = standing(
        deployment("Complete"),
        debian(BASE[:2]),
        config(),
        build(1),
        build(2, "Running"),
        stream("shop", "latest", SHOP[:1]),
    )

    assert str(found) == "behind by 1: build shop-2 (Running)"


def test_every_digest_that_a_tag_is_ahead_counts() -> None:
    found = standing(deployment("Complete"), stream("shop", "latest", SHOP[:4]))

    assert found.behind == 3
    assert found.waits_for == "the next rollout"


def test_a_hold_is_what_keeps_a_workload_back() -> None:
    found = standing(
        deployment("Complete", annotations={"upwell.dev/hold": "rolled back by hand"}),
        stream("shop", "latest", SHOP[:2]),
    )

    assert str(found) == "behind by 1: held: rolled back by hand"


def test_a_due_build_waits_for_what_its_condition_says() -> None:
    held = {"type": "Current", "status": "False", "reason": "Paused", "message": "it is paused"}
    paused = config(status={"conditions": [held]})

    found = standing(
        deployment("Complete"),
        debian(BASE[:2]),
        paused,
        build(1),
        stream("shop", "latest", SHOP[:1]),
    )

    assert str(found) == "behind by 1: it is paused"


def test_a_failed_build_is_what_a_workload_waits_for() -> None:
    found = standing(
        deployment("Complete"),
        debian(BASE[:2]),
        config(),
        build(1),
        build(2, "Failed", reason="DockerBuildFailed"),
        stream("shop", "latest", SHOP[:1]),
    )

    assert str(found) == "behind by 1: build shop-2 failed: DockerBuildFailed"


@pytest.mark.parametrize(
    ("workload", "state", "text"),
    [
        (deployment("Complete"), RolloutState.COMPLETE, "revision 1 is complete, 2 of 2 ready"),
        (
            deployment("Complete", "Progressing", updatedReplicas=1),
            RolloutState.PROGRESSING,
            "revision 2: 1 of 2 updated, 2 ready",
        ),
        (
            deployment("Complete", "Failed"),
            RolloutState.FAILED,
            "revision 2 failed; revision 1 serves",
        ),
        (
            deployment("Complete", observedGeneration=0),
            RolloutState.PROGRESSING,
            "the server has not seen the last change yet",
        ),
        (deployment(), RolloutState.PROGRESSING, "no revision was rolled out yet"),
        (
            deployment("Complete", readyReplicas=1),
            RolloutState.PROGRESSING,
            "revision 1: 2 of 2 updated, 1 ready",
        ),
    ],
)
def test_where_a_rollout_stands(workload: Any, state: RolloutState, text: str) -> None:
    found = rollout_of(workload)

    assert (found.state, found.text) == (state, text)


def test_the_story_of_a_workload_ends_at_the_vendor() -> None:
    workload = deployment("Complete", "Complete")
    snapshot = Snapshot(
        [
            workload,
            debian(BASE[:2]),
            config(),
            build(1),
            build(2, revision={"git": {"commit": "f" * 40, "message": "sell\nmore"}}),
            stream("shop", "latest", SHOP[:2]),
        ]
    )

    statements = explain(snapshot, workload)

    assert [(s.topic, s.depth) for s in statements] == [
        (Topic.RUNNING, 0),
        (Topic.IMAGE, 0),
        (Topic.BUILD, 1),
        (Topic.COMMIT, 2),
        (Topic.CAUSE, 2),
        (Topic.UPSTREAM, 3),
        (Topic.NEXT, 0),
        (Topic.NEXT, 0),
    ]
    [cause] = [s for s in statements if s.topic is Topic.CAUSE]
    assert (short(cause.old), short(cause.new)) == (BASE[0][7:19], BASE[1][7:19])
    assert texts(statements, Topic.COMMIT) == ["commit ffffffffffff: sell"]
    assert texts(statements, Topic.NEXT)[-1] == (
        "vendor.test/debian:11 is checked again for default/debian:11"
    )


def test_nothing_happened_has_a_reason_for_a_workload_without_triggers() -> None:
    workload = deployment("Complete")
    workload = workload.with_metadata(annotations={})

    statements = explain(Snapshot([workload]), workload)

    assert texts(statements, Topic.NEXT) == [
        "no image trigger: images change only when the manifest does"
    ]
    assert texts(statements, Topic.IMAGE) == ["container web runs aaaaaaaaaaaa; it follows no tag"]


def test_a_failed_import_is_told_for_all_that_stands_on_it() -> None:
    failed = {"type": "ImportSuccess", "status": "False", "reason": "Unauthorized", "message": "no"}
    workload = deployment("Complete")
    snapshot = Snapshot([workload, debian(BASE[:1], conditions=[failed]), config(), build(1)])

    for asked in (workload, config()):
        assert "default/debian:11: Unauthorized: no" in texts(explain(snapshot, asked), Topic.HELD)


def test_the_story_of_a_build_config_lists_what_it_follows() -> None:
    snapshot = Snapshot([debian(BASE[:2]), config(), build(1)])

    statements = explain(snapshot, config())

    assert texts(statements, Topic.IMAGE) == [
        "follows default/debian:11: now 111111111111, last built with 000000000000"
    ]
    assert "behind by 1: a build to start" in texts(statements, Topic.HELD)


def test_a_build_config_without_builds_says_so() -> None:
    assert texts(explain(Snapshot([config()]), config()), Topic.BUILD) == ["it has no build yet"]


def test_a_build_that_waits_to_be_tried_again_says_when() -> None:
    waiting = build(1, "New", message="registry down", retryTime="2026-03-01T12:05:00Z")

    statements = explain(Snapshot([waiting]), waiting)

    [held] = [s for s in statements if s.topic is Topic.HELD]
    assert held.at is not None
    assert held.at.isoformat() == "2026-03-01T12:05:00+00:00"
    assert texts(statements, Topic.BUILD) == ["build shop-1 is New: registry down"]


def test_a_build_says_why_it_was_rebased_or_was_not() -> None:
    rebased = build(2, rebase={"rebased": True, "build": "shop-1", "image": SHOP[0]})
    built = build(2, rebase={"build": "shop-1", "message": "FileOverlap: it has its own: /a"})
    (_, why), (_, why_not) = [
        texts(explain(Snapshot([one]), one), Topic.BUILD) for one in (rebased, built)
    ]
    assert "nothing but the base has changed since build shop-1" in why
    assert why_not == "it could not be rebased: FileOverlap: it has its own: /a"


def test_the_story_of_a_stream_names_build_or_upstream_for_each_tag() -> None:
    shop, base = stream("shop", "latest", SHOP[:1]), debian(BASE[:1])
    snapshot = Snapshot([shop, base, config(), build(1)])

    assert texts(explain(snapshot, shop), Topic.BUILD) == ["build shop-1 made aaaaaaaaaaaa"]
    assert texts(explain(snapshot, base), Topic.UPSTREAM) == [
        "vendor.test/debian:11 was first seen as 000000000000"
    ]


def test_a_base_that_came_back_was_seen_before_what_was_built_of_it() -> None:
    base = debian([BASE[0], BASE[1], BASE[0]])
    times = ("2026-03-01T12:00:00Z", "2026-03-01T11:40:00Z", "2026-03-01T11:00:00.7Z")
    [history] = base.status.tags
    items = tuple(
        one.model_copy(update={"created": datetime.fromisoformat(time)})
        for one, time in zip(history.items, times, strict=True)
    )
    state = history.import_state
    assert state is not None
    state = state.model_copy(update={"first_seen": items[0].created})
    told = history.model_copy(update={"items": items, "import_state": state})
    base = base.with_status(base.status.model_copy(update={"tags": (told,)}))
    first = items[-1].created
    at_once, later = first.replace(microsecond=0), first + timedelta(minutes=30)
    for began, seen in ((at_once, first), (later, first), (first - timedelta(hours=1), None)):
        made = build(1).with_metadata(creation_timestamp=began)
        statements = explain(Snapshot([base, config(), made]), made)
        assert [one.at for one in statements if one.topic is Topic.UPSTREAM] == [seen]


def test_a_build_that_a_person_started_names_what_it_took() -> None:
    asked = build(1)
    started = {"triggered_by": (BuildTriggerCause(message="Manually triggered"),)}
    asked = asked.model_copy(update={"spec": asked.spec.model_copy(update=started)})

    statements = explain(Snapshot([asked, debian(BASE[:1]), config()]), asked)

    assert texts(statements, Topic.CAUSE) == ["because: Manually triggered"]
    assert texts(statements, Topic.IMAGE) == ["it took default/debian:11 as it was, 000000000000"]
    assert len(texts(statements, Topic.UPSTREAM)) == 1


def test_what_keeps_a_workload_back_is_told_once() -> None:
    workload = deployment("Complete", "Failed")

    statements = explain(Snapshot([workload, stream("shop", "latest", SHOP[:2])]), workload)

    assert texts(statements, Topic.HELD) == [
        "revision 2 failed; revision 1 serves; `upwell rollout retry deployment/shop`",
        "behind by 1",
    ]


def test_a_build_on_a_cycle_is_told_once() -> None:
    spec = {
        "strategy": {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "shop:latest"}}},
        "output": {"to": {"kind": "ImageStreamTag", "name": "shop:latest"}},
    }
    looped = decode(of("build.openshift.io/v1", "BuildConfig", "shop", spec=spec))
    own = {"kind": "ImageStreamTag", "namespace": NS, "name": "shop:latest"}
    change = {"fromRef": own, "imageID": f"x.test/shop@{SHOP[0]}"}
    made = decode(
        of(
            "build.openshift.io/v1",
            "Build",
            "shop-1",
            spec={"triggeredBy": [{"message": "Image change", "imageChangeBuild": change}]},
            status={"phase": "Complete", "output": {"to": {"imageDigest": SHOP[0]}}},
        )
    )

    statements = explain(Snapshot([looped, made]), made)

    assert len(texts(statements, Topic.BUILD)) == 1


def test_package_changes_leave_equal_versions_out() -> None:
    old = [
        {"name": "libc6", "version": "2.31-13+deb11u11", "architecture": "amd64"},
        {"name": "bash", "version": "5.1"},
        {"name": "gone", "version": "1"},
    ]
    new = [
        {"name": "libc6", "version": "2.31-13+deb11u14", "architecture": "amd64"},
        {"name": "bash", "version": "5.1"},
        {"name": "fresh", "version": "2"},
    ]

    assert [str(change) for change in package_changes(old, new)] == [
        "fresh 2 added",
        "gone 1 removed",
        "libc6 2.31-13+deb11u11 -> 2.31-13+deb11u14",
    ]


def test_packages_of_two_architectures_do_not_hide_each_other() -> None:
    old = [{"name": "libc6", "version": "1", "architecture": a} for a in ("amd64", "i386")]
    new = [
        {"name": "libc6", "version": "1", "architecture": "amd64"},
        {"name": "libc6", "version": "2", "architecture": "i386"},
    ]

    assert package_changes(old, new) == [PackageChange("libc6:i386", "1", "2")]


def test_a_passed_over_image_and_a_chosen_tag_are_told() -> None:
    state = {
        "source": "vendor.test/debian",
        "selected": "11.4",
        "selectionReason": "the best of 3 tags for semver:^11",
        "ignored": {
            "digest": BASE[1],
            "seen": "2026-03-01T11:20:00Z",
            "reason": "OtherPlatformsOnly",
            "message": "what changed is not for linux/amd64",
        },
    }
    asked = stream("debian", "11", BASE[:1], importState=state)
    told = [one.text for one in explain(Snapshot([asked]), asked)]
    passed = "vendor.test/debian is 111111111111 now, passed over: what changed is not for"
    assert any(text.startswith(passed) for text in told)
    assert any("takes tag 11.4 of vendor.test/debian: the best of 3" in text for text in told)


def lived(workload: Resource, *numbers: int) -> Deployment:
    """Return a workload whose revisions of these numbers have taken traffic."""
    assert isinstance(workload, Deployment)
    revisions = tuple(
        one.model_copy(update={"live_at": one.created}) if one.revision in numbers else one
        for one in workload.status.revisions
    )
    return workload.with_status(workload.status.model_copy(update={"revisions": revisions}))


def test_who_reads_a_workload_alone_learns_what_has_changed_in_it() -> None:
    """Neither its builds nor its streams: a token of production alone."""
    workload = lived(deployment("Failed", "Complete", "Complete"), 2, 3)

    found = explain(Snapshot([workload]), workload)

    changes = [(one.old, one.new) for one in found if one.topic is Topic.CAUSE]
    assert changes == [(f"x.test/shop@{SHOP[1]}", f"x.test/shop@{SHOP[2]}")]
    (text,) = (one.text for one in found if one.topic is Topic.CAUSE)
    assert text == "in place of bbbbbbbbbbbb, which revision 2 ran"


def test_what_a_build_has_changed_is_said_once() -> None:
    workload = lived(deployment("Complete", "Complete"), 1, 2)

    found = explain(Snapshot([workload, build(1), build(2)]), workload)

    assert all("in place of" not in one.text for one in found)


def test_a_first_revision_is_in_place_of_nothing() -> None:
    workload = lived(deployment("Failed", "Complete"), 2)

    assert all("in place of" not in one.text for one in explain(Snapshot([workload]), workload))
