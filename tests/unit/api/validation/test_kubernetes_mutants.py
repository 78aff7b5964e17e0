"""Broken variants of Kubernetes' kinds are refused as a real API server refuses them.

Its verdicts are recorded; `tests/contract/kubernetes` asks it again.
"""

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.kubernetes.differences import STRICTER, reason
from tests.support.mutations.kubernetes.verdicts import KINDS, accepted, mutants_of
from tests.support.mutations.valid_objects import valid_objects


@pytest.mark.parametrize("kind", KINDS)
def test_valid_objects_are_accepted(kind: str) -> None:
    assert [refusal(document) for document in valid_objects(kind)] == [
        None for _ in valid_objects(kind)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_kubernetes_refuses_is_refused_and_nothing_else_without_a_reason(kind: str) -> None:
    verdicts = accepted()
    wrongly_accepted, wrongly_refused = [], []
    for place, (path, change, mutant) in mutants_of(kind):
        is_valid = change in verdicts[place].get(path, ())
        why = refusal(mutant.document)
        if why is None and not is_valid:
            wrongly_accepted.append((place, path, change))
        if why is not None and is_valid and not reason(kind, path):
            wrongly_refused.append((place, path, change, why))

    assert wrongly_accepted == []
    assert wrongly_refused == []


def test_every_difference_is_one() -> None:
    verdicts = accepted()
    used = {
        why
        for kind in KINDS
        for place, (path, change, mutant) in mutants_of(kind)
        if change in verdicts[place].get(path, ()) and (why := reason(kind, path))
        if refusal(mutant.document) is not None
    }

    assert {why for _, why in STRICTER} == used
