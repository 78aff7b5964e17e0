"""Approvals of stages on clusters: no other place, and no other stage, gets around them."""

from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.policy.promotion.lowered_approvals import lowered_approvals

APPROVED = {"approval": {"required": 1, "fourEyes": True}}


def pipeline(*stages: dict[str, Any]) -> Pipeline:
    named = [
        {"name": f"s{at}", "workloads": [{"name": "web"}], **stage}
        for at, stage in enumerate(stages)
    ]
    metadata = {"namespace": "shop", "name": "shop"}
    return decode_as(Pipeline, {"metadata": metadata, "spec": {"stages": named}})


def chosen(value: str) -> dict[str, Any]:
    return {"clusters": {"selector": {"matchLabels": {"env": value}}}}


EAST = {"cluster": "east"}


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ([EAST | APPROVED], [APPROVED], "takes away workloads"),
        ([EAST | APPROVED], [{"cluster": "west"} | APPROVED], "takes away workloads"),
        ([chosen("a") | APPROVED], [chosen("b") | APPROVED], "takes away workloads"),
        ([EAST | APPROVED], [EAST | APPROVED, EAST], "another stage"),
        ([EAST | APPROVED], [EAST | APPROVED, chosen("a")], "another stage"),
        ([chosen("a") | APPROVED], [chosen("a") | APPROVED, EAST], "another stage"),
    ],
)
def test_what_gets_around_an_approval_is_found(
    before: list[dict[str, Any]], after: list[dict[str, Any]], what: str
) -> None:
    found = list(lowered_approvals(pipeline(*before), pipeline(*after)))

    assert any(what in one for one in found), found


@pytest.mark.parametrize(
    "added", [{}, {"cluster": "local"}, {"cluster": "west"}, {"namespace": "other", **EAST}]
)
def test_a_stage_elsewhere_lowers_nothing(added: dict[str, Any]) -> None:
    before = pipeline(EAST | APPROVED)

    assert list(lowered_approvals(before, pipeline(EAST | APPROVED, added))) == []
