import json
from typing import Any

import pytest

from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode, encode
from upwell.api.defaults import with_defaults
from upwell.api.meta import Resource
from upwell.policy.rollouts.image_ownership import (
    PROMOTED_ANNOTATION,
    ignored_images,
    keep_triggered_images,
    pod_template,
    trigger_warnings,
    untaken_images,
)

PINNED = "registry:5000/shop/web@sha256:" + "a" * 64
OTHER = "registry:5000/shop/web@sha256:" + "b" * 64
WEB = 'spec.template.spec.containers[?(@.name=="web")].image'


def trigger(field_path: str = WEB, name: str = "web:latest", **more: Any) -> dict[str, Any]:
    return {"from": {"kind": "ImageStreamTag", "name": name}, "fieldPath": field_path, **more}


def workload(image: str, *triggers: dict[str, Any], kind: str = "Deployment") -> Resource:
    annotations = {"image.openshift.io/triggers": json.dumps(triggers)} if triggers else {}
    template = {
        "spec": {
            "containers": [{"name": "side", "image": "side:1"}, {"name": "web", "image": image}],
            "initContainers": [{"name": "web", "image": "init:1"}],
        }
    }
    spec: dict[str, Any] = {"template": template}
    api_version = "apps/v1"
    if kind == "CronJob":
        api_version = "batch/v1"
        spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
    return decode(
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
            "spec": spec,
        }
    )


def config(image: str, *, automatic: bool | None = True, source: str = "web:latest") -> Resource:
    params = {"automatic": automatic, "containerNames": ["web"], "from": {"name": source}}
    return decode(
        {
            "apiVersion": "apps.openshift.io/v1",
            "kind": "DeploymentConfig",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "template": {"spec": {"containers": [{"name": "web", "image": image}]}},
                "triggers": [{"type": "ImageChange", "imageChangeParams": params}],
            },
        }
    )


def image_of(resource: Resource) -> str:
    template = pod_template(resource)
    assert template is not None
    return next(c.image for c in template.spec.containers if c.name == "web")


@pytest.mark.parametrize("declared", [" ", "", "web:latest", OTHER])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "CronJob"])
def test_a_declared_image_never_overwrites_a_resolved_one(kind: str, declared: str) -> None:
    path = WEB.replace("spec.", "spec.jobTemplate.spec.", 1) if kind == "CronJob" else WEB
    old = workload(PINNED, trigger(path), kind=kind)
    new = workload(declared, trigger(path), kind=kind)
    kept = keep_triggered_images(old, new)
    assert image_of(kept) == PINNED
    expected = encode(new)
    assert encode(kept) != expected
    assert json.dumps(encode(kept)).replace(PINNED, declared) == json.dumps(expected)


def test_a_kept_image_is_pulled_as_before_where_nobody_says_when() -> None:
    old, new = with_defaults(config(PINNED)), with_defaults(config("web:latest"))
    kept = pod_template(keep_triggered_images(old, new))
    assert kept == pod_template(old), "of before defaults were stored: nothing has changed"
    stored = pod_template(keep_triggered_images(with_policy(old, "Always"), new))
    assert stored is not None
    assert stored.spec.containers[0].image_pull_policy == "Always"
    never = pod_template(keep_triggered_images(old, with_policy(new, "Never")))
    assert never is not None
    assert never.spec.containers[0].image_pull_policy == "Never", "somebody has said when"


def with_policy(resource: Resource, policy: str) -> Resource:
    document = encode(resource)
    document["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = policy
    return decode(document)


def test_containers_without_a_trigger_are_declared() -> None:
    old, new = workload(PINNED, trigger()), workload(" ", trigger())
    template = pod_template(keep_triggered_images(old, new))
    assert template is not None
    assert [c.image for c in template.spec.containers] == ["side:1", PINNED]
    assert [c.image for c in template.spec.init_containers] == ["init:1"]


@pytest.mark.parametrize(
    "new",
    [
        workload("mine:1"),
        workload("mine:1", trigger(name="other:latest")),
        workload("mine:1", trigger(paused=True)),
        workload("mine:1", trigger(paused="true")),
    ],
    ids=["dropped", "points elsewhere", "paused", "paused as text"],
)
def test_a_request_that_changes_the_trigger_gives_the_image_to_the_person(new: Resource) -> None:
    assert image_of(keep_triggered_images(workload(PINNED, trigger()), new)) == "mine:1"


def test_a_paused_trigger_does_not_leave_a_blank_image() -> None:
    new = workload(" ", trigger(paused=True))
    assert image_of(keep_triggered_images(workload(PINNED, trigger()), new)) == PINNED


def test_an_image_that_is_not_resolved_yet_is_declared() -> None:
    old, new = workload("web:1", trigger()), workload("web:2", trigger())
    assert keep_triggered_images(old, new) is new


def test_a_trigger_that_is_new_has_resolved_nothing() -> None:
    assert image_of(keep_triggered_images(workload(PINNED), workload("web:1", trigger()))) == (
        "web:1"
    )


def test_the_own_namespace_written_out_is_the_same_trigger() -> None:
    named = trigger()
    named["from"]["namespace"] = "shop"
    assert image_of(keep_triggered_images(workload(PINNED, trigger()), workload(" ", named))) == (
        PINNED
    )


def test_a_deployment_config_keeps_what_its_automatic_triggers_resolved() -> None:
    assert image_of(keep_triggered_images(config(PINNED), config(" "))) == PINNED
    for changed in (
        config("web:2", automatic=False),
        config("web:2", automatic=None),
        config("web:2", source="other:1"),
    ):
        assert image_of(keep_triggered_images(config(PINNED), changed)) == "web:2"


def test_kinds_without_containers_are_left_alone() -> None:
    secret = decode({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})
    assert keep_triggered_images(secret, secret) is secret
    bare = config(" ")
    assert isinstance(bare, DeploymentConfig)
    empty = bare.model_copy(update={"spec": bare.spec.model_copy(update={"template": None})})
    assert keep_triggered_images(config(PINNED), empty) is empty


def test_an_annotation_that_says_nothing_is_worth_a_warning() -> None:
    assert trigger_warnings(workload("x", trigger())) == []
    (warning,) = trigger_warnings(workload("x", trigger("spec.nowhere")))
    assert "spec.nowhere" in warning
    assert trigger_warnings(config("x")) == []


PROMOTED = json.dumps({"pipeline": "shop/shop", "stage": "dev", "containers": ["web"]})


def test_a_promoted_image_stays_and_so_does_the_note_of_whose_it_is() -> None:
    old = workload(PINNED).with_metadata(annotations={PROMOTED_ANNOTATION: PROMOTED})

    kept = keep_triggered_images(old, workload(" "))

    assert image_of(kept) == PINNED
    assert keep_triggered_images(kept, workload(OTHER)).annotations == old.annotations


def test_a_person_who_empties_the_note_has_the_images() -> None:
    old = workload(PINNED).with_metadata(annotations={PROMOTED_ANNOTATION: PROMOTED})
    new = workload("mine:1").with_metadata(annotations={PROMOTED_ANNOTATION: ""})

    assert image_of(keep_triggered_images(old, new)) == "mine:1"


@pytest.mark.parametrize("note", ["", "{", "[]", "7", '{"containers": 3}'])
def test_what_is_no_note_keeps_nothing(note: str) -> None:
    old = workload(PINNED).with_metadata(annotations={PROMOTED_ANNOTATION: note})

    assert image_of(keep_triggered_images(old, workload("mine:1"))) == "mine:1"


@pytest.mark.parametrize("declared", ["", " ", PINNED])
def test_nothing_is_said_where_nothing_else_is_declared(declared: str) -> None:
    old = workload(PINNED).with_metadata(annotations={PROMOTED_ANNOTATION: PROMOTED})
    new = workload(declared)
    assert ignored_images(new, keep_triggered_images(old, new)) == []


def test_a_person_is_told_of_an_image_that_a_promotion_keeps_away() -> None:
    old = workload(PINNED).with_metadata(annotations={PROMOTED_ANNOTATION: PROMOTED})
    new = workload("mine:1")
    (said,) = ignored_images(new, keep_triggered_images(old, new))
    assert said.startswith(f"container web keeps {PINNED}, which was promoted, and not mine:1")
    by_hand = new.with_metadata(annotations={PROMOTED_ANNOTATION: ""})
    assert ignored_images(by_hand, keep_triggered_images(old, by_hand)) == []


def said_of(old: Resource, declared: Resource) -> list[str]:
    return untaken_images(old, declared, keep_triggered_images(old, declared))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (workload(PINNED, trigger()), workload("mine:1", trigger()), "deployment/web"),
        (config(PINNED), config("mine:1"), "deploymentconfig/web"),
    ],
)
def test_a_person_is_told_of_an_image_that_a_tag_keeps_away(
    old: Resource, new: Resource, name: str
) -> None:
    (said,) = said_of(old, new)
    assert said == (
        "container web follows shop/web:latest: it keeps that image, not mine:1. Move the tag by"
        " `oc tag`, or stop following by"
        f" `upwell set triggers {name} --from-image=shop/web:latest --manual`"
    )


def test_a_person_is_told_of_an_image_that_a_tag_will_replace() -> None:
    (said,) = said_of(config("web:latest"), config("mine:1"))
    assert "it has mine:1 until that has an image." in said


@pytest.mark.parametrize(
    "declared",
    [
        workload(PINNED, trigger()),
        workload(" ", trigger()),
        workload("mine:1", trigger(paused=True)),
        workload("mine:1"),
    ],
)
def test_nothing_is_said_of_images_that_no_tag_takes_back(declared: Resource) -> None:
    assert said_of(workload(PINNED, trigger()), declared) == []


def test_a_manifest_that_is_applied_again_says_nothing_new() -> None:
    applied = workload("web:placeholder", trigger())
    note = json.dumps(encode(applied), separators=(",", ":"))
    annotations = {**applied.annotations, "kubectl.kubernetes.io/last-applied-configuration": note}
    old = workload(PINNED, trigger()).with_metadata(annotations=annotations)
    assert said_of(old, applied.with_metadata(annotations=annotations)) == []
    assert len(said_of(old, workload("mine:1", trigger()))) == 1


def test_what_a_promotion_keeps_is_said_once() -> None:
    note = {PROMOTED_ANNOTATION: PROMOTED}
    old, new = workload(PINNED, trigger()), workload("mine:1", trigger())
    promoted = old.with_metadata(annotations={**old.annotations, **note})
    assert said_of(promoted, new) == []
