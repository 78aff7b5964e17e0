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
def test_every_broken_object_is_refused_and_no_other(kind: str) -> None:
    judged = [
        (str(one), bool(broken(RULES[kind], one.document)), refusal(one.document))
        for one in _mutants(kind)
    ]

    assert min(sum(is_broken is wanted for _, is_broken, _ in judged) for wanted in (True, False))
    assert [name for name, is_broken, why in judged if is_broken and why is None] == []
    assert [(name, why) for name, is_broken, why in judged if why and not is_broken] == []
