"""The recorded verdicts by which validation is tested are those of a real Kubernetes."""

from tests.support.kubernetes.cluster import KitCluster
from tests.support.mutations.kubernetes.apiserver import DryRunJudge
from tests.support.mutations.kubernetes.verdicts import KINDS, accepted, mutants_of, places

_EVERY = 17
"""One of so many is asked about, so that it takes seconds."""


def test_a_sample_of_the_recorded_verdicts_is_what_kubernetes_says(cluster: KitCluster) -> None:
    recorded = accepted()
    asked = [
        (place, path, change, mutant.document)
        for kind in KINDS
        for place in places(kind)
        for path, change, mutant in mutants_of(place)
    ][::_EVERY]
    judge = DryRunJudge(cluster.base_url, cluster.token, cluster.ca)

    verdicts = judge.accepts([document for _, _, _, document in asked])

    expected = [change in recorded[place].get(path, ()) for place, path, change, _ in asked]
    wrong = [
        (place, path, change, said)
        for (place, path, change, _), said, wanted in zip(asked, verdicts, expected, strict=True)
        if said != wanted
    ]
    assert wrong == []
    assert {True, False} == set(verdicts)
