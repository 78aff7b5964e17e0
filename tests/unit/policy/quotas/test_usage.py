"""Amounts that objects take of a quota."""

from decimal import Decimal
from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.policy.quotas.usage import (
    Limits,
    added,
    charge_of,
    counted_kinds,
    exceeded,
    readable,
    shown,
    total,
    unknown_names,
)


def made(api_version: str, kind: str, spec: dict[str, Any] | None = None) -> Any:
    document = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "one"}}
    return decode(document if spec is None else document | {"spec": spec})


CLAIM = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "2Gi"}}}}
SET = {"count/statefulsets.apps": 1, "pods": 3, "persistentvolumeclaims": 3}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (made("v1", "Secret"), {"count/secrets": 1, "secrets": 1}),
        (made("v1", "Service"), {"count/services": 1, "services": 1}),
        (made("build.openshift.io/v1", "Build"), {"count/builds.build.openshift.io": 1}),
        (made("apps/v1", "Deployment"), {"count/deployments.apps": 1, "pods": 1}),
        (
            made("apps/v1", "Deployment", {"replicas": 0}),
            {"count/deployments.apps": 1, "pods": 0},
        ),
        (made("batch/v1", "Job", {"parallelism": 3}), {"count/jobs.batch": 1, "pods": 3}),
        (
            made("apps/v1", "StatefulSet", {"replicas": 3, "volumeClaimTemplates": [CLAIM]}),
            SET | {"requests.storage": 6 * 1024**3},
        ),
        (
            made("apps/v1", "StatefulSet", {"replicas": 3, "volumeClaimTemplates": [{"spec": 5}]}),
            SET | {"requests.storage": 0},
        ),
    ],
)
def test_an_object_takes_what_kubernetes_would_count(
    resource: Any, expected: dict[str, int]
) -> None:
    assert charge_of(resource) == expected
    assert type(resource) in counted_kinds(expected)
    assert unknown_names(expected) == []


def test_names_that_nothing_counts_as_are_told() -> None:
    assert unknown_names(["pods", "count/nodes", "requests.cpu"]) == ["count/nodes", "requests.cpu"]


def test_only_what_exceeds_is_named() -> None:
    limits = [Limits("a", readable({"pods": "10", "secrets": 2})), Limits("b", {})]
    used = {"pods": Decimal(9), "secrets": Decimal(0)}
    asked = {"pods": Decimal(2), "secrets": Decimal(1)}
    found = exceeded(limits, asked, used.__getitem__)
    assert str(found) == "exceeded quota: a, requested: pods=2, used: pods=9, limited: pods=10"
    assert exceeded(limits, {"pods": Decimal(1)}, used.__getitem__) is None


def test_less_is_never_asked_for() -> None:
    old, new = charge_of(made("apps/v1", "Deployment", {"replicas": 5})), {"pods": Decimal(3)}
    assert added(old, new) == {}
    assert added(new, old) == {"count/deployments.apps": 1, "pods": 2}


def test_amounts_are_shown_without_an_exponent() -> None:
    assert [shown("pods", Decimal(n)) for n in (0, 100, 6 * 1024**3)] == ["0", "100", "6442450944"]
    sizes = [shown("requests.storage", Decimal(n)) for n in (0, 1000, 6 * 1024**3)]
    assert sizes == ["0", "1000", "6Gi"]
    assert total([]) == {}
    assert readable({"pods": "many", "secrets": "1k"}) == {"secrets": 1000}
