"""The impact of a change: what it reaches, in which order, what stops it, and how long it takes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig
from upwell.api.builds.inputs import BuildOutput, BuildPostCommitSpec
from upwell.api.codec import decode, encode
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference, Resource
from upwell.api.pipeline import Freeze, Quarantine
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, BuildRebase
from upwell.api.waves.wave import Wave, WavePhase, WaveSpec, WaveStatus
from upwell.policy.builds.failures import NOT_REBASED
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.waves.estimate import Estimate, builds_at_once, estimate
from upwell.policy.waves.impact import (
    Impact,
    PlannedChange,
    PlannedStep,
    StepAction,
    impact_of,
    roots_of,
)
from upwell.policy.waves.progress import wave_status

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DEBIAN = UpstreamImage("docker.io/library/debian:11")
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def of(kind: str, name: str, api: str, annotations: Any = None, **parts: Any) -> Resource:
    metadata = {"name": name, "namespace": "shop", "annotations": annotations or {}}
    return decode({"apiVersion": api, "kind": kind, "metadata": metadata, **parts})


def base(*, scheduled: bool = True, digest: str = OLD) -> Resource:
    tag = {
        "name": "11",
        "from": {"kind": "DockerImage", "name": "debian:11"},
        "importPolicy": {"scheduled": scheduled},
    }
    spec = f"docker.io/library/debian@{digest}"
    created = "2026-04-01T00:00:00Z"
    items = [{"image": digest, "dockerImageReference": spec, "created": created}]
    return of(
        "ImageStream",
        "debian",
        "image.openshift.io/v1",
        spec={"tags": [tag]},
        status={"tags": [{"tag": "11", "items": items}]},
    )


def config(name: str, *froms: str, follows: bool = True, paused: bool = False) -> Resource:
    tags = [{"kind": "ImageStreamTag", "name": one} for one in froms]
    changes: list[dict[str, Any]] = [{}, *({"from": tag} for tag in tags[1:])]
    return of(
        "BuildConfig",
        name,
        "build.openshift.io/v1",
        {PAUSED_ANNOTATION: "true"} if paused else {},
        spec={
            "strategy": {"dockerStrategy": {"from": tags[0]}},
            "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
            "triggers": [{"type": "ImageChange", "imageChange": one} for one in changes]
            if follows
            else [],
        },
    )


def build(of_config: str, number: int, seconds: int, at: int = 0) -> Resource:
    started = NOW - timedelta(hours=1) + timedelta(seconds=at)
    return decode(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {
                "namespace": "shop",
                "name": f"{of_config}-{number}",
                "labels": {"openshift.io/build-config.name": of_config},
                "annotations": {"openshift.io/build.number": str(number)},
            },
            "status": {
                "phase": "Complete",
                "startTimestamp": started.isoformat(),
                "completionTimestamp": (started + timedelta(seconds=seconds)).isoformat(),
            },
        }
    )


def deployment(name: str, tag: str = "", image: str = " ", **annotations: str) -> Resource:
    path = 'spec.template.spec.containers[?(@.name=="web")].image'
    trigger = [{"from": {"kind": "ImageStreamTag", "name": tag}, "fieldPath": path}]
    found = {f"upwell.dev/{key}": value for key, value in annotations.items()}
    if tag:
        found["image.openshift.io/triggers"] = json.dumps(trigger)
    container = {"name": "web", "image": image}
    return of(
        "Deployment",
        name,
        "apps/v1",
        found,
        spec={"template": {"spec": {"containers": [container]}}},
    )


def pipeline(**production: Any) -> Resource:
    """Return a Pipeline of `app`: Deployment dev, then Deployment live."""
    stages = [
        {"name": "dev", "workloads": [{"kind": "Deployment", "name": "dev"}]},
        {"name": "production", "workloads": [{"kind": "Deployment", "name": "live"}]} | production,
    ]
    component = {"name": "web", "from": {"kind": "ImageStreamTag", "name": "app:latest"}}
    return of(
        "Pipeline",
        "app",
        "upwell.dev/v1alpha1",
        spec={"components": [component], "stages": stages},
    )


def impact(*objects: Resource, digest: str = "", **others: Any) -> Impact:
    snapshot = Snapshot(objects)
    change = PlannedChange(roots_of(snapshot, "debian:11", "shop"), digest)
    return impact_of(snapshot, change, NOW, **others)


def times(*objects: Resource, at_once: int = 2) -> Estimate:
    return estimate(impact(*objects), Snapshot(objects), NOW, at_once=at_once)


def key(kind: str, name: str) -> Node:
    return ObjectKey(kind, "shop", name)


def reasons(found: Impact, node: Node) -> str:
    return "; ".join(one.reason for one in found.steps[node].obstacles)


def test_a_diamond_is_built_level_by_level_its_tip_once_after_both_sides() -> None:
    found = impact(
        config("app", "left:latest", "right:latest"),
        deployment("web", "app:latest"),
        config("right", "debian:11"),
        config("left", "debian:11"),
        base(),
    )

    assert found.change.roots == (DEBIAN,)
    builds = found.of(StepAction.REBUILD)
    assert {one.node: one.level for one in builds} == {
        key("BuildConfig", "left"): 1,
        key("BuildConfig", "right"): 1,
        key("BuildConfig", "app"): 2,
    }
    order = list(found.steps)
    assert order.index(key("BuildConfig", "app")) > order.index(key("BuildConfig", "left"))
    assert order[0] == StreamTag("shop", "debian", "11")
    assert order[-1] == key("Deployment", "web")
    assert all(one.arrives for one in found.steps.values())
    assert found.steps[key("BuildConfig", "left")].behind == 2


def test_what_does_not_stand_on_the_image_is_not_in_the_plan() -> None:
    other = deployment("other", "nginx:1")
    found = impact(base(), config("app", "debian:11"), config("else", "nginx:1"), other)

    assert {one.node for one in found.of(StepAction.REBUILD)} == {key("BuildConfig", "app")}
    assert not found.of(StepAction.ROLL_OUT)


def test_who_must_act_is_said_and_nothing_below_comes_by_itself() -> None:
    objects = [base(), config("app", "debian:11", follows=False), deployment("web", "app:latest")]
    found = impact(*objects)

    assert "`upwell start-build app -n shop`" in reasons(found, key("BuildConfig", "app"))
    assert not found.steps[key("Deployment", "web")].arrives
    assert not reasons(found, key("Deployment", "web"))
    assert times(*objects).ends.keys() == {StreamTag("shop", "debian", "11")}


def test_an_import_that_is_not_scheduled_needs_a_person() -> None:
    found = impact(base(scheduled=False), config("app", "debian:11"))

    assert "upwell import-image debian:11 -n shop" in reasons(
        found, StreamTag("shop", "debian", "11")
    )
    assert not found.steps[key("BuildConfig", "app")].arrives


def test_holds_and_pauses_are_told_where_they_are() -> None:
    found = impact(
        base(),
        config("app", "debian:11"),
        config("held", "debian:11", paused=True),
        deployment("web", "app:latest", hold="audit"),
        deployment("later", "app:latest", hold="fair", **{"hold-until": "2026-05-01T13:00:00Z"}),
    )

    assert PAUSED_ANNOTATION in reasons(found, key("BuildConfig", "held"))
    assert "held: audit" in reasons(found, key("Deployment", "web"))
    assert not found.steps[key("Deployment", "web")].arrives
    assert found.steps[key("Deployment", "later")].arrives


def test_a_workload_that_names_the_image_itself_is_told_as_followed_by_nobody() -> None:
    found = impact(deployment("web", image="docker.io/library/debian:11"))

    assert found.change.roots == (DEBIAN,)
    assert "follows no tag" in reasons(found, key("Deployment", "web"))
    assert not found.steps[key("Deployment", "web")].arrives


def test_stages_come_one_after_the_other_and_wait_for_what_bars_them() -> None:
    approval = {"required": 2, "approvers": ["group:leads"]}
    objects = [base(), config("app", "debian:11"), deployment("live"), deployment("dev")]
    found = impact(*objects, pipeline(approval=approval))

    live = found.steps[key("Deployment", "live")]
    assert live.action is StepAction.PROMOTE
    assert live.after == (key("Deployment", "dev"),)
    assert "2 approval of group:leads" in reasons(found, key("Deployment", "live"))
    assert found.steps[key("Deployment", "dev")].arrives
    assert not live.arrives

    frozen = impact(
        *objects,
        pipeline(),
        freezes=[decode({"apiVersion": "upwell.dev/v1alpha1", "kind": "Freeze"} | FREEZE)],
    )
    [obstacle] = frozen.steps[key("Deployment", "live")].obstacles
    assert obstacle.until == NOW + timedelta(hours=2)
    assert frozen.steps[key("Deployment", "live")].arrives


FREEZE = {"metadata": {"name": "fair"}, "spec": {"end": "2026-05-01T14:00:00Z"}}


def test_a_quarantined_digest_is_built_by_nobody() -> None:
    quarantine = decode(
        {
            "apiVersion": "upwell.dev/v1alpha1",
            "kind": "Quarantine",
            "metadata": {"name": "bad"},
            "spec": {"digest": NEW, "reason": "two applications fail on it"},
        }
    )
    assert isinstance(quarantine, Quarantine)
    objects = [base(), config("app", "debian:11")]

    barred = impact(*objects, digest=NEW, quarantines=[quarantine])
    assert "upwell quarantine lift bad" in reasons(barred, key("BuildConfig", "app"))
    assert (
        not impact(*objects, digest=OLD, quarantines=[quarantine])
        .steps[key("BuildConfig", "app")]
        .obstacles
    )


def test_who_has_the_digest_already_is_done() -> None:
    tag = StreamTag("shop", "debian", "11")
    assert impact(base(digest=NEW), digest=NEW).steps[tag].done
    assert not impact(base(digest=OLD), digest=NEW).steps[tag].done
    assert not impact(base(digest=NEW)).steps[tag].done


def test_what_stands_on_a_tag_that_has_the_digest_is_done_too() -> None:
    pull_spec = f"docker.io/library/debian@{OLD}"
    made = build("app", 1, 60)
    spec = {
        "imageInputs": [
            {
                "from": {"kind": "ImageStreamTag", "namespace": "shop", "name": "debian:11"},
                "image": pull_spec,
            }
        ]
    }
    made = decode({**encode(made), "spec": spec})
    snapshot = Snapshot([base(digest=OLD), config("app", "debian:11"), made])
    tag = StreamTag("shop", "debian", "11")

    found = impact_of(snapshot, PlannedChange((tag,), OLD), NOW)
    assert found.steps[key("BuildConfig", "app")].done
    other = impact_of(snapshot, PlannedChange((tag,), NEW), NOW)
    assert not other.steps[key("BuildConfig", "app")].done


def test_an_image_is_found_by_the_name_that_its_registry_gives_it_alone() -> None:
    repository = "registry.internal/shop/debian"
    stream = decode(
        {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"namespace": "shop", "name": "debian"},
            "status": {"dockerImageRepository": repository},
        }
    )
    snapshot = Snapshot([stream, config("app", "debian:11")])
    tag = StreamTag("shop", "debian", "11")

    assert roots_of(snapshot, f"{repository}:11", "elsewhere") == (tag,)
    assert roots_of(snapshot, "quay.io/evil/debian:11", "shop") == ()
    assert roots_of(snapshot, "quay.io/debian:11", "shop") == ()


def test_rings_end_the_plan_and_are_told() -> None:
    found = impact(base(), config("a", "debian:11", "b:latest"), config("b", "a:latest"))

    assert "own result" in reasons(found, key("BuildConfig", "a"))
    assert not found.steps[key("BuildConfig", "b")].arrives


def test_time_counts_builds_in_slots_by_what_earlier_ones_took() -> None:
    leaves = [config(f"leaf{n}", "debian:11") for n in range(4)]
    past = [build(f"leaf{n}", 1, 60) for n in range(4)]

    assert times(base(), *leaves, *past, at_once=2).whole == timedelta(seconds=120)
    assert times(base(), *leaves, *past, at_once=4).whole == timedelta(seconds=60)
    guessed = times(base(), *leaves, *past[:3], at_once=2)
    assert (guessed.whole, guessed.guessed) == (timedelta(seconds=120), 1)


def changed(count: int, gap: int, *, pause: int = 0) -> Estimate:
    """Return the estimate of 20 builds of a minute each, of which `count` have been made anew.

    Two at a time, each pair `gap` seconds after the one before; the last one after a pause.
    """
    spec = {
        "imageInputs": [
            {
                "from": {"kind": "ImageStreamTag", "namespace": "shop", "name": "debian:11"},
                "image": f"docker.io/library/debian@{NEW}",
            }
        ]
    }
    found: list[Resource] = [base(digest=NEW)]
    for number in range(20):
        name = f"leaf{number}"
        found += [config(name, "debian:11"), build(name, 1, 60)]
        if number < count:
            at = 600 + number // 2 * gap + (pause if number >= count - 2 else 0)
            found.append(decode({**encode(build(name, 2, 60, at)), "spec": spec}))
    snapshot = Snapshot(found)
    tag = StreamTag("shop", "debian", "11")
    return estimate(impact_of(snapshot, PlannedChange((tag,), NEW), NOW), snapshot, NOW, at_once=2)


def test_builds_take_as_long_as_those_that_the_change_has_made_already() -> None:
    assert changed(0, 60).whole == timedelta(seconds=600)
    assert changed(4, 120).whole == timedelta(seconds=480), "four say too little"
    assert changed(10, 60).whole == timedelta(seconds=300)
    # Five pairs, of a minute each, in nine minutes.
    assert changed(10, 120).whole == timedelta(seconds=300 * 9 / 5)
    # A pause in which nothing was built is nobody's pace, and two builds say too little.
    assert changed(10, 60, pause=3600).whole == timedelta(seconds=300)


def test_what_most_stands_on_begins_first() -> None:
    above = config("aaa", "debian:11")
    middle = config("middle", "debian:11")
    tip = config("tip", "middle:latest")
    past = [build(name, 1, 60) for name in ("aaa", "middle", "tip")]

    ends = times(base(), above, middle, tip, *past, at_once=1).ends
    assert ends[key("BuildConfig", "middle")] == timedelta(seconds=60)


def test_a_window_that_opens_later_is_waited_for() -> None:
    held = deployment("web", "app:latest", hold="x", **{"hold-until": "2026-05-01T13:00:00Z"})
    ends = times(base(), config("app", "debian:11"), build("app", 1, 60), held).ends

    assert ends[key("Deployment", "web")] == timedelta(hours=1)


def test_builds_at_once_are_those_that_overlapped() -> None:
    found = Snapshot([build("a", 1, 60), build("b", 1, 60, at=30), build("c", 1, 5, at=60)])

    assert builds_at_once(found.every_build()) == 2
    assert builds_at_once([]) == 1


def test_unknown_images_have_no_roots_and_tags_are_found_by_their_names() -> None:
    snapshot = Snapshot([base(), config("app", "debian:11")])

    assert roots_of(snapshot, "nginx:1", "shop") == ()
    assert roots_of(snapshot, "no such image!", "shop") == ()
    assert roots_of(snapshot, "shop/debian:11", "elsewhere") == (StreamTag("shop", "debian", "11"),)
    assert roots_of(snapshot, "app", "shop") == (StreamTag("shop", "app", "latest"),)
    assert isinstance(
        decode({"apiVersion": "upwell.dev/v1alpha1", "kind": "Freeze"} | FREEZE), Freeze
    )


def answering(answer: str, *builds: Resource, **spec: Any) -> PlannedStep:
    """Return the step of a BuildConfig with an answer to a change of its base."""
    app = config("app", "debian:11")
    assert isinstance(app, BuildConfig)
    app = app.model_copy(update={"spec": app.spec.model_copy(update=spec)})
    app = app.with_metadata(annotations={ON_BASE_CHANGE_ANNOTATION: answer})
    return impact(base(), app, *builds).steps[key("BuildConfig", "app")]


def test_whether_an_image_may_be_rebased_is_said_beforehand() -> None:
    built = build("app", 1, 10)
    assert not answering("rebuild", built).forecast.rebases
    assert answering("auto", built).forecast.rebases
    assert answering("rebase", built).forecast.rebases
    assert answering("auto").forecast.against == "no earlier build of it is kept"
    hook = answering("auto", built, post_commit=BuildPostCommitSpec(script="test")).forecast
    assert not hook.rebases
    assert "spec.postCommit" in hook.against
    assert isinstance(built, Build)
    rebase = BuildRebase(message="FileOverlap: it has its own")
    status = built.status.model_copy(update={"rebase": rebase})
    tried = answering("auto", built.with_status(status)).forecast
    assert (tried.rebases, tried.against) == (False, "FileOverlap: it has its own")


def test_a_plan_says_that_bytes_may_be_sent_to_another_registry() -> None:
    to = ObjectReference(kind="DockerImage", name="quay.example:5000/team/app")
    found = answering("auto", build("app", 1, 10), output=BuildOutput(to=to)).forecast
    assert found.rebases
    assert found.registry == "quay.example:5000"
    assert not answering("auto", build("app", 1, 10)).forecast.registry
    assert answering("auto", build("app", 1, 10), output=BuildOutput()).forecast.against


def test_what_may_only_be_rebased_and_cannot_be_stops_the_plan() -> None:
    step = answering("rebase", post_commit=BuildPostCommitSpec(script="test"))
    (obstacle,) = step.obstacles
    assert obstacle.stops
    assert "spec.postCommit" in obstacle.reason
    assert not answering("rebase", build("app", 1, 10)).obstacles


def progress_of(answer: str) -> WaveStatus:
    """Return how far a Wave is whose one build may only be rebased, and could not be."""
    app = config("app", "debian:11").with_metadata(annotations={ON_BASE_CHANGE_ANNOTATION: answer})
    refused = build("app", 2, 60, at=600)
    assert isinstance(refused, Build)
    ended = {
        "phase": BuildPhase.CANCELLED,
        "reason": NOT_REBASED,
        "rebase": BuildRebase(message="FileOverlap: it has its own"),
    }
    refused = refused.with_status(refused.status.model_copy(update=ended))
    snapshot = Snapshot([base(digest=NEW), app, build("app", 1, 60), refused])
    found = impact_of(snapshot, PlannedChange((StreamTag("shop", "debian", "11"),), NEW), NOW)
    wave = Wave(metadata=ObjectMeta(name="debian-1"), spec=WaveSpec(image=str(DEBIAN), digest=NEW))
    return wave_status(wave, found, snapshot, Estimate({}, 0, 0, 2), NOW)


def test_what_could_not_be_rebased_is_held_back_and_has_not_failed() -> None:
    status = progress_of("rebase")
    assert (status.builds.failed, status.builds.held) == (0, 1)
    assert status.phase is WavePhase.WAITING
    (held,) = status.held
    assert "FileOverlap" in held.reason
    assert "`upwell start-build app -n shop`" in held.reason


def test_what_could_not_be_rebased_and_is_held_back_by_nothing_is_named() -> None:
    status = progress_of("auto")  # set since, which starts nothing
    assert status.phase is WavePhase.WAITING
    (held,) = status.held
    assert "build app-2 cancelled" in held.reason


def test_a_base_whose_changes_build_nothing_stops_the_plan() -> None:
    step = answering("notify", build("app", 1, 10))
    (obstacle,) = step.obstacles
    assert obstacle.stops
    assert "`upwell start-build app -n shop`" in obstacle.reason
    assert not step.arrives


def test_a_change_of_another_stage_is_built() -> None:
    app = config("app", "other:1", "debian:11")
    app = app.with_metadata(annotations={ON_BASE_CHANGE_ANNOTATION: "auto"})
    found = impact(base(), app, build("app", 1, 10))
    assert not found.steps[key("BuildConfig", "app")].forecast.rebases
