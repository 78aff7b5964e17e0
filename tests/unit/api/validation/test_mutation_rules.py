"""The rules and the mutants by which validation is tested: they judge what is known to be so."""

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.mutants import Breakage, Document, mutants
from tests.support.mutations.openshift.kinds import RULES
from tests.support.mutations.rules import (
    INT32,
    LIST,
    TEXT,
    KindRules,
    at_least,
    broken,
    needed,
    not_empty,
)
from tests.support.mutations.valid_objects import valid_objects

PORTS = KindRules(
    {
        "spec.replicas": INT32 & at_least(0),
        "spec.ports": LIST & not_empty,
        "spec.ports[].name": needed(TEXT),
        "spec.labels{}": TEXT,
    }
)
OBJECT: Document = {
    "kind": "Example",
    "spec": {"replicas": 2, "ports": [{"name": "web"}], "labels": {"app": "web"}},
}


@pytest.mark.parametrize("kind", RULES)
def test_valid_objects_break_no_rule_and_are_accepted(kind: str) -> None:
    for document in valid_objects(kind):
        assert broken(RULES[kind], document) == ()
        assert refusal(document) is None


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({}, ()),
        ({"replicas": None}, ()),
        ({"replicas": True}, ("spec.replicas",)),
        ({"replicas": -1}, ("spec.replicas",)),
        ({"replicas": 2**31}, ("spec.replicas",)),
        ({"ports": []}, ("spec.ports",)),
        ({"ports": [{"name": "a"}, {}]}, ("spec.ports[1].name",)),
        ({"ports": [{"name": ""}, {"name": 1}]}, ("spec.ports[0].name", "spec.ports[1].name")),
        ({"labels": {"app": 1, "tier": "x"}}, ("spec.labels.app",)),
        ({"other": object()}, ()),
    ],
)
def test_a_rule_is_about_every_field_at_its_path(spec: Document, paths: tuple[str, ...]) -> None:
    assert broken(PORTS, {"spec": spec}) == paths


def test_what_is_broken_as_a_whole_is_not_broken_inside() -> None:
    found = {str(mutant) for mutant in mutants(OBJECT, ("spec", "ports"), {("spec", "ports", 0)})}

    assert "Example spec.ports[0] deleted" in found
    assert not any("spec.ports[0].name" in text for text in found)


def test_rules_across_fields_are_asked_when_types_are_right() -> None:
    rules = KindRules(PORTS.table, (lambda _: iter(("spec.ports[0].name",)),))

    assert broken(rules, OBJECT) == ("spec.ports[0].name",)
    assert broken(rules, {"spec": {"replicas": "x"}}) == ("spec.replicas",)


def test_every_value_is_broken_in_every_way_and_the_object_stays() -> None:
    made = list(mutants(OBJECT))
    texts = {str(mutant) for mutant in made}

    assert {
        "Example spec deleted",
        "Example spec.replicas negative",
        "Example spec.replicas large",
        "Example spec.ports emptied",
        "Example spec.ports duplicate",
        "Example spec.ports[0] deleted",
        "Example spec.ports[0] unknown",
        "Example spec.ports[0].name case",
        "Example spec.labels bad key",
    } <= texts
    assert {mutant.change for mutant in made} >= set(Breakage) - {Breakage.FRACTION}
    assert all(mutant.document != OBJECT for mutant in made)
    assert OBJECT["spec"]["ports"] == [{"name": "web"}]
