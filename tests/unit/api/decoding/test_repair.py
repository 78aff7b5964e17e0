"""Wrong types are told together with what else is wrong: nothing hides the rest."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.mutations.admission import refusal, stored
from tests.support.mutations.mutants import Breakage, mutants, path_text
from tests.support.mutations.valid_objects import valid_objects
from tests.support.server.write_only_documents import Secrets, documents

from upwell.api.apps import Deployment
from upwell.api.codec import InvalidObjectError, resource_of_kind
from upwell.api.decoding.repair import beside, repaired_as
from upwell.api.values.faults import MAX_FAULTS, CauseType, Fault
from upwell.server.admission.admission import admit
from upwell.server.http.target import RequestTarget

CONTAINER = {"name": "web", "image": "web:1"}


def deployment(container: object = CONTAINER, **spec: object) -> dict[str, Any]:
    """Return a Deployment with one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container]},
            },
            **spec,
        },
    }


def faults(document: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the answer to a document: messages by path."""
    target = RequestTarget(Deployment, "shop")
    with pytest.raises(InvalidObjectError) as raised:
        admit(target, document, None if old is None else stored(old))
    found = {fault.path: fault.message for fault in raised.value.faults}
    assert len(found) == len(raised.value.faults)
    return found


def test_wrong_types_missing_fields_and_broken_rules_are_told_in_one_answer() -> None:
    container = {
        "image": "web:1",
        "imagePullPolicy": "Bogus",
        "ports": [{"containerPort": "80"}, {"containerPort": 0}],
        "resources": {"limits": {"cpu": "much"}},
    }
    document = deployment(container, replicas="many", minReadySeconds=-1)
    document["metadata"]["labels"] = {"tier": 5}
    path = "spec.template.spec.containers[0]"

    found = faults(document)

    assert set(found) == {
        "metadata.labels.tier",
        "spec.replicas",
        "spec.minReadySeconds",
        f"{path}.name",
        f"{path}.imagePullPolicy",
        f"{path}.ports[0].containerPort",
        f"{path}.ports[1].containerPort",
        f"{path}.resources.limits[cpu]",
    }
    assert found[f"{path}.name"] == "Required value"
    assert found["spec.replicas"] == "expected an integer, found a string"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        # The rest is as it would be, had the value been right: none of these breaks a rule.
        (deployment("web"), "spec.template.spec.containers[0]"),
        (deployment({**CONTAINER, "name": ["web"]}), "spec.template.spec.containers[0].name"),
        (deployment(selector={"matchLabels": "app"}), "spec.selector.matchLabels"),
        (deployment(selector={"matchLabels": {"app": {}}}), "spec.selector.matchLabels.app"),
        (deployment(template="web"), "spec.template"),
        (deployment(progressDeadlineSeconds=[]), "spec.progressDeadlineSeconds"),
        (
            deployment({**CONTAINER, "volumeMounts": [{"name": 7, "mountPath": "/a"}]}),
            "spec.template.spec.containers[0].volumeMounts[0].name",
        ),
    ],
)
def test_what_is_wrong_with_a_value_is_told_once(document: dict[str, Any], path: str) -> None:
    assert list(faults(document)) == [path]


def test_a_value_that_spells_the_right_one_stands_for_it() -> None:
    document = deployment(replicas="3", selector={"matchLabels": {"app": 5}})
    document["spec"]["template"]["metadata"]["labels"] = {"app": 5}

    rest = repaired_as(Deployment, json.dumps(document))

    assert rest is not None
    assert rest.spec.replicas == 3
    assert set(faults(document)) == {
        "spec.replicas",
        "spec.selector.matchLabels.app",
        "spec.template.metadata.labels.app",
    }


def test_what_was_stored_before_is_not_held_against_an_update() -> None:
    old = deployment({**CONTAINER, "imagePullPolicy": "Bogus"})
    new = deployment({**CONTAINER, "imagePullPolicy": "Bogus"}, replicas="many")

    assert list(faults(new, old)) == ["spec.replicas"]


def test_an_unknown_choice_and_a_missing_field_of_a_build_hide_nothing() -> None:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "shop"},
        "spec": {
            "runPolicy": "Sometimes",
            "source": {"git": {}},
            "output": {"pushSecret": {"name": ""}},
            "strategy": {"sourceStrategy": {"from": {"kind": "ImageStreamTag", "name": "python"}}},
        },
    }

    found = str(refusal(document))

    assert "spec.runPolicy: Unsupported value" in found
    assert "spec.source.git.uri: Required value" in found
    assert "spec.output.pushSecret.name: Required value" in found
    assert "sourceStrategy.from.name: Invalid value" in found


@pytest.mark.parametrize(
    "kind",
    ["Build", "Deployment", "DeploymentConfig", "ImageStream", "Secret", "Service", "StatefulSet"],
)
def test_nothing_is_told_that_follows_from_a_wrong_type(kind: str) -> None:
    """A lost kind, selector or template makes other fields look wrong."""
    target = RequestTarget(resource_of_kind(kind), "shop")
    for document in valid_objects(kind)[:1]:
        for path, broken in wrong_types(document).items():
            try:
                admit(target, broken, None)
            except InvalidObjectError as error:
                found = {fault.path: fault.cause for fault in error.faults}
                if CauseType.TYPE in found.values():
                    assert [one for one in found if is_apart(one, path)] == [], path


def wrong_types(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the object with a wrong type at each path."""
    return {
        path_text(mutant.path): mutant.document
        for root in document.keys() & {"metadata", "spec", "data"}
        for mutant in mutants(document, (root,))
        if mutant.change is Breakage.RETYPED and len(mutant.path) > 1
    }


def is_apart(one: str, other: str) -> bool:
    """Return True for paths of which none holds the other."""
    one, other = (path.replace("[", ".").replace("]", "") for path in (one, other))
    return not one.startswith(other) and not other.startswith(one)


def test_what_follows_from_what_is_found_in_linear_time() -> None:
    told = [Fault.required(f"spec.a[{at}].name") for at in range(150)]
    found = [Fault.required(f"spec.b[{at}].name") for at in range(2_000)]
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        del frame, argument
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        rest = beside([*found, Fault.invalid("spec.a[7]", 0, "odd")], told)
    finally:
        sys.setprofile(None)

    assert rest == tuple(found)
    assert calls < 40 * (len(told) + len(found))


def test_no_refusal_of_a_broken_object_tells_its_secrets() -> None:
    secrets = Secrets("word")
    for document in documents(secrets):
        for mutant in mutants(document):
            if mutant.change in {Breakage.CASE, Breakage.DELETED, Breakage.PADDED}:
                told = refusal(mutant.document) or ""
                assert [mark for mark in secrets.marks if mark in told] == [], mutant.path


@pytest.mark.parametrize("entry", [1, {}, {"name": 5}, {"name": "a b"}])
def test_of_thousands_of_faults_the_first_are_told_and_that_there_are_more(entry: object) -> None:
    document = deployment({**CONTAINER, "env": [entry] * 5_000}, replicas="many")

    found = faults(document)

    assert len(found) == MAX_FAULTS + 1
    assert "there is more" in found[""]
    assert any(path.startswith("spec.template.spec.containers[0].env[0]") for path in found)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(("name", "ports", "image", "containers", "spec", "env", "limits")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(_values, _values, _values)
@settings(max_examples=60)
def test_whatever_is_sent_is_refused_with_words_or_taken(
    container: object, template: object, spec: object
) -> None:
    for document in (
        deployment(container),
        deployment(template=template),
        {**deployment(), "spec": spec},
        {**deployment(), "metadata": template},
    ):
        assert refusal(document) != ""
