"""Judgement on a store by the instances that run beside it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from upwell.policy.rollouts.lost_objects import StoreFacts, judge_store, remains, unexplained
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

WEB = Owner("Deployment", "shop", "web")
RUNNING = Instance(
    name="web-0",
    owner=WEB,
    revision="1",
    state=State.RUNNING,
    ready=True,
    ready_since=None,
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    address="",
    images={},
    timeline="now",
    owner_version="150",
)


def test_a_store_that_knows_all_goes_on() -> None:
    verdict = judge_store(StoreFacts(["now"], 150, {WEB}), [RUNNING])
    assert (verdict.missing, verdict.new_timeline, verdict.timelines) == ([], False, ("now",))


def test_an_owner_that_the_store_has_seen_go_is_not_missing() -> None:
    verdict = judge_store(StoreFacts(["now"], 150), [RUNNING])
    assert (verdict.missing, verdict.new_timeline) == ([], False)


@pytest.mark.parametrize("timelines", [[], ["now"]])
def test_an_empty_store_beside_instances_has_lost_them(timelines: list[str]) -> None:
    assert judge_store(StoreFacts(timelines, 0), [RUNNING]).missing == [RUNNING]


def test_a_new_store_without_instances_begins_a_timeline() -> None:
    verdict = judge_store(StoreFacts([], 0), [])
    assert (verdict.missing, verdict.new_timeline) == ([], True)


def test_an_old_copy_has_lost_what_it_has_not_come_to_yet() -> None:
    verdict = judge_store(StoreFacts(["now"], 149), [RUNNING])
    assert (verdict.missing, verdict.new_timeline) == ([RUNNING], True)


def test_an_old_copy_that_knows_all_owners_goes_on_in_another_timeline() -> None:
    verdict = judge_store(StoreFacts(["now"], 149, {WEB}), [RUNNING])
    assert (verdict.missing, verdict.new_timeline) == ([], True)


def test_a_store_of_another_timeline_has_lost_its_owner() -> None:
    verdict = judge_store(StoreFacts(["older"], 9000), [RUNNING])
    assert verdict.missing == [RUNNING]
    assert verdict.timelines == ("now", "older")


def test_a_loss_that_was_accepted_is_not_asked_about_again() -> None:
    verdict = judge_store(StoreFacts(["now", "newer"], 20), [RUNNING])
    assert (verdict.missing, verdict.new_timeline) == ([], False)


def test_what_an_older_version_has_started_proves_nothing() -> None:
    old = replace(RUNNING, timeline="", owner_version="")
    assert judge_store(StoreFacts([], 10), [old]).missing == []


def test_only_what_the_same_timeline_started_may_be_removed() -> None:
    other = replace(RUNNING, timeline="then")
    assert remains([RUNNING, other], "now") == [RUNNING]
    assert unexplained([RUNNING, other], "now") == [other]
    nameless = replace(RUNNING, timeline="")
    assert remains([nameless], "") == []
    assert unexplained([nameless], "") == [nameless]
