import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cluster.workloads import workload

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.pod_template import Container, PodSpec
from upwell.policy.rollouts.trigger_annotation import ImageTrigger, parse
from upwell.policy.rollouts.triggers import followers_of

POD = PodSpec(
    containers=(Container(name="web"), Container(name="side")),
    init_containers=(Container(name="migrate"),),
)


def text(field_path: object, **entry: Any) -> str:
    source = {"kind": "ImageStreamTag", "name": "app:1"}
    return json.dumps([{"from": source, "fieldPath": field_path} | entry])


@pytest.mark.parametrize(
    ("field_path", "container", "init", "is_odd"),
    [
        ('spec.template.spec.containers[?(@.name=="web")].image', "web", False, False),
        ("spec.template.spec.containers[?(@.name=='web')].image", "web", False, True),
        ('spec.template.spec.containers[?(@.name == "web")].image', "web", False, True),
        ("spec.template.spec.containers[1].image", "side", False, False),
        ("spec.template.spec.initContainers[0].image", "migrate", True, False),
        (
            'spec.jobTemplate.spec.template.spec.containers[?(@.name=="web")].image',
            "web",
            False,
            False,
        ),
    ],
)
def test_every_way_to_name_a_container_is_read(
    field_path: str, container: str, *, init: bool, is_odd: bool
) -> None:
    found, warnings = parse(text(field_path), POD)
    assert found == [ImageTrigger(container, init, "", "app:1")]
    assert bool(warnings) is is_odd


@pytest.mark.parametrize(
    ("paused", "expected", "is_odd"),
    [(True, True, False), (None, False, False), ("true", True, True), ("False", False, True)],
)
def test_paused_may_be_a_text(*, paused: object, expected: bool, is_odd: bool) -> None:
    found, warnings = parse(text("spec.template.spec.containers[0].image", paused=paused), POD)
    assert [trigger.paused for trigger in found] == [expected]
    assert bool(warnings) is is_odd


@pytest.mark.parametrize(
    "entry",
    [
        text("spec.template.spec.containers[2].image"),
        text('spec.template.spec.containers[?(@.name=="none")].image'),
        text("spec.containers[0].image"),
        text("spec.template.spec.containers[0].name"),
        text(None),
        text("spec.template.spec.containers[0].image", paused="maybe"),
        text("spec.template.spec.containers[0].image", **{"from": {"kind": "DockerImage"}}),
        text("spec.template.spec.containers[0].image", **{"from": {"kind": "ImageStreamTag"}}),
        text("spec.template.spec.containers[0].image", **{"from": None}),
        "[1]",
        "{}",
        "not json",
        "[" * 100_000,
    ],
)
def test_what_cannot_be_understood_has_no_effect_and_a_warning(entry: str) -> None:
    found, warnings = parse(entry, POD)
    assert found == []
    assert len(warnings) == 1


def test_one_wrong_entry_spoils_no_other() -> None:
    good = json.loads(text("spec.template.spec.containers[0].image"))
    wrong = json.loads(text("spec.nowhere"))
    found, warnings = parse(json.dumps([*wrong, *good, *good]), POD)
    assert [trigger.container for trigger in found] == ["web"]
    assert [warning[:4] for warning in warnings] == ["[0]:", "[2]:"]


def test_a_stream_without_a_tag_is_its_latest() -> None:
    source = {"kind": "ImageStreamTag", "name": "app", "namespace": "base"}
    found, warnings = parse(text("spec.template.spec.containers[0].image", **{"from": source}), POD)
    assert found == [ImageTrigger("web", init=False, namespace="base", tag="app:latest")]
    assert len(warnings) == 1


@given(st.text() | st.recursive(st.none() | st.text() | st.booleans(), st.lists).map(json.dumps))
def test_no_text_makes_it_fail(anything: str) -> None:
    found, warnings = parse(anything, POD)
    assert found == []
    assert warnings or anything.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "why"), [('{"x', "it is not JSON"), ("{}", "it is not a list")]
)
def test_an_annotation_that_is_none_is_told_in_a_sentence(written: str, why: str) -> None:
    made = workload(Deployment).with_metadata(annotations={TRIGGERS_ANNOTATION: written})
    [fault] = followers_of(made).faults
    assert fault.startswith(f"annotation {TRIGGERS_ANNOTATION}: {why}, so")
