"""Disturbances: what a check meets of a stage, and what takes the meaning from its end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upwell.policy.promotion.verification.disturbance import (
    AskedWorkloads,
    Disturbance,
    disturbed_instance,
)
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGAN = NOW - timedelta(seconds=30)
LONG_AGO = NOW - timedelta(hours=1)
WEB = Owner("Deployment", "shop", "web")
ASKED = AskedWorkloads("shop", {WEB: "r2"})
READY = Instance(
    name="web-0",
    owner=WEB,
    revision="r2",
    state=State.RUNNING,
    ready=True,
    ready_since=LONG_AGO,
    started_at=LONG_AGO,
    address="10.88.0.2",
    images={},
)
LATE = replace(READY, ready_since=BEGAN + timedelta(seconds=1))
COMING = replace(READY, ready=False, ready_since=None, started_at=BEGAN)


def disturbed(instance: Instance, *, passed: bool) -> str:
    minute = timedelta(seconds=60)
    found = disturbed_instance([instance], ASKED, BEGAN, NOW, minute, passed=passed)
    return found.why if found is not None else ""


@pytest.mark.parametrize("instance", [LATE, COMING])
def test_a_pass_beside_an_instance_that_was_not_ready_all_the_time_counts_for_nothing(
    instance: Instance,
) -> None:
    assert disturbed(instance, passed=True) == "web-0 was not ready"
    assert disturbed(instance, passed=False) == ""


@pytest.mark.parametrize("instance", [LATE, COMING])
def test_a_first_failure_beside_such_an_instance_is_tried_once_more(instance: Instance) -> None:
    minute = timedelta(seconds=60)
    found = disturbed_instance([instance], ASKED, BEGAN, NOW, minute, passed=False, excused=False)
    assert found == Disturbance("web-0 was not ready", ended_by_itself=True)


@pytest.mark.parametrize("instance", [LATE, COMING])
def test_a_failure_beside_one_that_the_machine_lost_counts_for_nothing(instance: Instance) -> None:
    lost = replace(instance, losses=1)
    words = "web-0 was lost by the machine and started anew"
    assert [disturbed(lost, passed=end) for end in (True, False)] == [words, words]


@pytest.mark.parametrize(
    "instance",
    [
        pytest.param(READY, id="ready"),
        pytest.param(replace(LATE, revision="r1"), id="earlier revision"),
        pytest.param(replace(LATE, role="pre"), id="hook"),
        pytest.param(replace(LATE, owner=replace(WEB, name="db")), id="another workload"),
        pytest.param(replace(LATE, owner=replace(WEB, namespace="x"), losses=1), id="elsewhere"),
        pytest.param(replace(COMING, started_at=LONG_AGO), id="had its time"),
    ],
)
def test_all_else_is_no_disturbance(instance: Instance) -> None:
    assert disturbed(instance, passed=True) == ""


def test_what_the_machine_lost_beside_the_stage_counts() -> None:
    database = replace(LATE, owner=replace(WEB, name="db"), losses=1)
    assert disturbed(database, passed=False)
