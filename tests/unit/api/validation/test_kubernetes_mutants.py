"""Broken variants of Kubernetes' kinds are refused as a real API server refuses them.

Its verdicts are recorded; `tests/contract/kubernetes` asks it again.
"""

from functools import cache

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.kubernetes.differences import STRICTER, reason
from tests.support.mutations.kubernetes.verdicts import KINDS, accepted, mutants_of
from tests.support.mutations.valid_objects import valid_objects

type Difference = tuple[str, str, str, str]


@cache
def differences(kind: str) -> tuple[list[Difference], list[Difference]]:
    """Return the mutants that are accepted here alone, and those that are refused here alone."""
    verdicts = accepted()
    too_lenient, too_strict = [], []
    for place, (path, change, mutant) in mutants_of(kind):
        is_valid = change in verdicts[place].get(path, ())
        why = refusal(mutant.document)
        if why is None and not is_valid:
            too_lenient.append((place, path, change, ""))
        if why is not None and is_valid:
            too_strict.append((place, path, change, why))
    return too_lenient, too_strict


@pytest.mark.parametrize("kind", KINDS)
def test_valid_objects_are_accepted(kind: str) -> None:
    assert [refusal(document) for document in valid_objects(kind)] == [
        None for _ in valid_objects(kind)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_kubernetes_refuses_is_refused_and_nothing_else_without_a_reason(kind: str) -> None:
    too_lenient, too_strict = differences(kind)

    assert too_lenient == []
    assert [one for one in too_strict if not reason(kind, one[1])] == []


def test_every_difference_is_one() -> None:
    used = {reason(kind, path) for kind in KINDS for _, path, _, _ in differences(kind)[1]}

    assert {why for _, why in STRICTER} == used
