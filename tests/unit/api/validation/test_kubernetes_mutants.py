"""Broken variants of Kubernetes' kinds are refused as a real API server refuses them.

Its verdicts are recorded; `tests/contract/kubernetes` asks it again.
"""

from functools import cache

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.kubernetes.differences import STRICTER, reason
from tests.support.mutations.kubernetes.verdicts import KINDS, accepted, mutants_of, places
from tests.support.mutations.valid_objects import valid_objects

PLACES = [place for kind in KINDS for place in places(kind)]

type Difference = tuple[str, str, str, str]


def kind_of(place: str) -> str:
    """Return the kind of the object at a place of the recording."""
    return place.partition(" ")[0]


@cache
def differences(place: str) -> tuple[list[Difference], list[Difference]]:
    """Return the mutants that are accepted here alone, and those that are refused here alone."""
    verdicts = accepted()[place]
    too_lenient, too_strict = [], []
    for path, change, mutant in mutants_of(place):
        is_valid = change in verdicts.get(path, ())
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


@pytest.mark.parametrize("place", PLACES)
def test_what_kubernetes_refuses_is_refused_and_nothing_else_without_a_reason(place: str) -> None:
    too_lenient, too_strict = differences(place)

    assert too_lenient == []
    assert [one for one in too_strict if not reason(kind_of(place), one[1])] == []


def test_every_difference_is_one() -> None:
    used = {
        reason(kind_of(place), path) for place in PLACES for _, path, _, _ in differences(place)[1]
    }

    assert {why for _, why in STRICTER} == used
