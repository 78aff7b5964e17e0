"""Explanation of a Service or Route that leads nowhere."""

from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot


def made(api: str, kind: str, name: str, **rest: Any) -> Resource:
    metadata = {"name": name, "namespace": "default"}
    return decode({"apiVersion": api, "kind": kind, "metadata": metadata, **rest})


def service(app: str) -> Resource:
    return made("v1", "Service", "web", spec={"selector": {"app": app}, "ports": [{"port": 80}]})


def deployment(ready: int) -> Resource:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return made("apps/v1", "Deployment", "web", spec=spec, status={"readyReplicas": ready})


ROUTE = made("route.openshift.io/v1", "Route", "web", spec={"to": {"name": "web"}})


@pytest.mark.parametrize("asked", ["Service", "Route"])
@pytest.mark.parametrize(
    ("objects", "texts"),
    [
        (
            [service("other"), deployment(2)],
            [
                (
                    "Service default/web selects no workload of its namespace, so that nothing"
                    " answers: none has the labels of its selector, app=other"
                )
            ],
        ),
        (
            [service("web"), deployment(0)],
            [
                (
                    "Service default/web leads to Deployment default/web, 0 of 2 ready:"
                    " `upwell explain deployment/web` says why"
                )
            ],
        ),
        (
            [service("web"), deployment(1)],
            [
                "Service default/web leads to Deployment default/web, 1 of 2 ready",
                "nothing is wrong with it",
            ],
        ),
    ],
)
def test_it_says_who_answers_or_why_nobody_does(
    asked: str, objects: list[Resource], texts: list[str]
) -> None:
    subject = ROUTE if asked == "Route" else objects[0]
    found = explain(Snapshot([*objects, ROUTE]), subject)
    assert [one.text for one in found] == texts
