"""Templates: references, generated values, labels, namespaces, limits and faults."""

import json
import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import decode_as
from upwell.api.decoding.limits import MAX_MANIFEST_BYTES
from upwell.api.manifests import MAX_DEPTH
from upwell.api.template import Template
from upwell.policy.templates.generators import GeneratorError, generate_value
from upwell.policy.templates.process import (
    InvalidTemplateError,
    Processed,
    ProcessRequest,
    process_template,
)


def last(alphabet: str) -> str:
    return alphabet[-1]


def template(*objects: Any, **fields: Any) -> Template:
    document = {"metadata": {"name": "shop"}, "objects": list(objects)} | fields
    return decode_as(Template, document)


def config_map(data: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"} | metadata,
        "data": data,
    }


def process(found: Template, **values: str) -> Processed:
    return process_template(found, ProcessRequest(values), last)


def expand(value: Any, **values: str) -> Any:
    """Return what a field's `value` becomes when the template has these parameters."""
    found = template(config_map({"at": value}), parameters=[{"name": name} for name in values])
    return process(found, **values).objects[0]["data"]["at"]


def faults(found: Template, **values: str) -> list[str]:
    with pytest.raises(InvalidTemplateError) as caught:
        process(found, **values)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("${A}", "1"),
        ("x-${A}-${B}-${A}", "x-1-${A}-1"),
        ("${UNKNOWN} ${A}", "${UNKNOWN} 1"),
        ("$A $(A) $${A}", "$A $(A) $1"),
        ("${{A}}", 1),
        ("${{B}}", "${A}"),
        ("${{C}}", {"cpu": 2, "list": [True, None]}),
        ("x${{A}}", "x${{A}}"),
        ("${{UNKNOWN}}", "${{UNKNOWN}}"),
        (7, 7),
        ([{"${A}": "${A}"}], [{"1": "1"}]),
    ],
)
def test_references_become_values(written: Any, becomes: Any) -> None:
    structure = '{"cpu": 2, "list": [true, null]}'

    expanded = expand(written, A="1", B="${A}", C=structure)

    assert expanded == becomes
    assert type(expanded) is type(becomes)


@pytest.mark.parametrize("text", ["yes", "1.2.3", "NaN", '{"a":', ""])
def test_an_unquoted_value_that_is_no_json_is_text(text: str) -> None:
    assert expand("${{A}}", A=text) == text


@given(st.text())
def test_text_without_references_is_never_changed(text: str) -> None:
    assert expand(text.replace("${", "$ {"), A="1") == text.replace("${", "$ {")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_every_json_value_survives_unquoting(value: Any) -> None:
    assert expand("${{A}}", A=json.dumps(value)) == value


def test_a_given_value_wins_over_the_templates_own_and_that_over_a_generated_one() -> None:
    parameters = [
        {"name": name, "generate": "expression", "from": "[0-9]{2}"} for name in ("A", "B", "C")
    ]
    parameters[0]["value"] = parameters[1]["value"] = "own"
    found = template(config_map({"at": "${A} ${B} ${C}"}), parameters=parameters)

    assert process(found, A="given").objects[0]["data"] == {"at": "given own 99"}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        ("admin[0-9]{2}[A-Fx]{3}!", "admin99xxx!"),
        (r"[\w]{1}[\d]{1}[\a]{1}", "_99"),
        (r"[\A]{1}", string.punctuation[-1]),
        ("[a-z]{255}", "z" * 255),
        ("[a-z]", "[a-z]"),
    ],
)
def test_expressions_generate(expression: str, value: str) -> None:
    assert generate_value(expression, last) == value


@pytest.mark.parametrize(
    "expression", ["[a]{0}", "[a]{256}", f"[a]{{{'9' * 9999}}}", "[z-a]{1}", r"[\s]{1}", "[-]{1}"]
)
def test_expressions_that_mean_nothing_are_refused(expression: str) -> None:
    with pytest.raises(GeneratorError):
        generate_value(expression, last)


def test_generating_asks_for_one_choice_of_all_characters_for_each_place() -> None:
    asked: list[str] = []

    def choose(alphabet: str) -> str:
        asked.append(alphabet)
        return alphabet[0]

    assert generate_value("[a-cb1]{2}", choose) == "aa"
    assert asked == ["abc1", "abc1"]


def test_labels_go_to_every_object_over_its_own() -> None:
    found = template(
        config_map({}, labels={"app": "old", "own": "kept"}),
        config_map({}),
        parameters=[{"name": "NAME", "value": "shop"}],
        labels={"app": "${NAME}", "tier": "back"},
    )

    processed = process_template(found, ProcessRequest(labels={"tier": "front"}), last)

    assert [item["metadata"]["labels"] for item in processed.objects] == [
        {"app": "shop", "own": "kept", "tier": "front"},
        {"app": "shop", "tier": "front"},
    ]


def test_a_namespace_stays_only_when_it_has_a_text_parameter() -> None:
    found = template(
        *(config_map({}, namespace=written) for written in ("fixed", "${NS}-x", "${{NS}}")),
        parameters=[{"name": "NS", "value": "team"}],
    )

    assert [item["metadata"].get("namespace") for item in process(found).objects] == [
        None,
        "team-x",
        None,
    ]


def test_lists_are_flattened_and_groupless_kinds_get_their_group() -> None:
    stream = {"apiVersion": "v1", "kind": "ImageStream", "metadata": {"name": "base"}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}}
    inner = {"apiVersion": "v1", "kind": "ImageStreamList", "items": [stream]}
    found = template({"apiVersion": "v1", "kind": "List", "items": [inner, claim]}, config_map({}))

    assert [(item["apiVersion"], item["kind"]) for item in process(found).objects] == [
        ("image.openshift.io/v1", "ImageStream"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "ConfigMap"),
    ]


def test_the_message_is_substituted() -> None:
    found = template(parameters=[{"name": "USER"}], message="log in as ${USER}")

    assert process(found, USER="eve").message == "log in as eve"


def test_every_fault_is_told_with_its_path() -> None:
    found = template(
        {"kind": "ConfigMap"},
        config_map({}, labels=["a"]),
        parameters=[
            {"name": "A-B"},
            {"name": "USER", "required": True},
            {"name": "USER"},
            {"name": "KEY", "generate": "dice"},
            {"name": "PIN", "generate": "expression", "from": "[9-0]{4}"},
        ],
        labels={"app": "shop"},
    )

    paths = [fault.partition(": ")[0] for fault in faults(found, COLOUR="red")]

    assert paths == [
        "parameters",
        "parameters[0].name",
        "parameters[1]",
        "parameters[2].name",
        "parameters[3].generate",
        "parameters[4].from",
        "objects[0]",
        "objects[1].metadata.labels",
    ]


def test_an_unknown_parameter_can_be_ignored() -> None:
    request = ProcessRequest({"COLOUR": "red"}, ignore_unknown=True)

    assert process_template(template(config_map({})), request, last).objects


def test_an_empty_value_is_none_for_a_required_parameter() -> None:
    found = template(parameters=[{"name": "USER", "value": "eve", "required": True}])

    assert faults(found, USER="") == [
        "parameters[0]: parameter 'USER' is required: give it a value"
    ]


def test_no_fault_shows_a_value() -> None:
    found = template(
        config_map({"at": "${{SECRET}}"}),
        parameters=[{"name": "SECRET"}, {"name": "OTHER", "required": True}],
    )

    assert "hunter2" not in str(faults(found, SECRET="hunter2" + "[" * 5000))


def test_values_cannot_make_the_objects_larger_than_a_manifest() -> None:
    big = "x" * (MAX_MANIFEST_BYTES // 10)
    found = template(config_map({"at": "${A}" * 11, "and": "${A}"}), parameters=[{"name": "A"}])

    assert faults(found, A=big) == [
        f"objects[0].data.at: the values make the objects larger than {MAX_MANIFEST_BYTES} bytes"
    ]


@pytest.mark.parametrize("depth", [MAX_DEPTH, 100_000])
def test_values_cannot_be_nested_too_deeply(depth: int) -> None:
    found = template(config_map({"at": "${{A}}"}), parameters=[{"name": "A"}])

    assert faults(found, A="[" * depth + "]" * depth) == [
        f"objects[0].data.at: nested more than {MAX_DEPTH} deep"
    ]
