"""Objects that OpenShift refuses are refused here, and what it accepts is accepted.

Each valid object is broken in every way; rules made of the API's definitions say which of the
mutants are invalid (`tests/support/mutations`). docs/validation.md lists the differences.
"""

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.mutants import Mutant, mutants
from tests.support.mutations.openshift.kinds import RULES
from tests.support.mutations.rules import broken
from tests.support.mutations.valid_objects import valid_objects


def _mutants(kind: str) -> list[Mutant]:
    return [
        mutant
        for document in valid_objects(kind)
        for root in sorted(set(document) - {"apiVersion", "kind", "metadata"})
        for mutant in mutants(document, (root,), {("spec", "template")})
    ]


@pytest.mark.parametrize("kind", RULES)
def test_every_broken_object_is_refused(kind: str) -> None:
    found = [one for one in _mutants(kind) if broken(RULES[kind], one.document)]

    assert len(found) > 20
    assert [str(one) for one in found if refusal(one.document) is None] == []


@pytest.mark.parametrize("kind", RULES)
def test_no_other_object_is_refused(kind: str) -> None:
    found = [one for one in _mutants(kind) if not broken(RULES[kind], one.document)]

    assert len(found) > 20
    refused = [(str(one), refusal(one.document)) for one in found]
    assert [one for one in refused if one[1] is not None] == []
