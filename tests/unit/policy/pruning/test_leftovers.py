"""Judgement on what interrupted work left behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upwell.policy.pruning.leftovers import GRACE, LeftoverFacts, UnneededItem, judge_leftovers
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, Leftover, LeftoverKind, State

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OLD = NOW - timedelta(days=2)
CHECK = Owner("Job", "shop", "check")
INSTANCE = Instance(
    name="check-0",
    owner=CHECK,
    revision="1",
    state=State.EXITED,
    ready=False,
    ready_since=None,
    started_at=NOW,
    address="",
    images={},
    timeline="now",
)
FOLDER = Leftover(LeftoverKind.FOLDER, "check-0", NOW, CHECK, "now")


def judged(
    *found: Instance | Leftover, owners: tuple[Owner, ...] = (), timeline: str = "now"
) -> list[UnneededItem]:
    instances = [one for one in found if isinstance(one, Instance)]
    others = [one for one in found if isinstance(one, Leftover)]
    return judge_leftovers(LeftoverFacts(instances, others, owners, timeline, NOW))


def test_what_has_its_owner_stays() -> None:
    assert judged(INSTANCE, replace(FOLDER, changed_at=OLD), owners=(CHECK,)) == []


def test_what_was_left_by_a_deletion_goes() -> None:
    found = judged(INSTANCE, FOLDER)
    assert [(one.what, one.unexplained) for one in found] == [
        ("instance", False),
        ("instance folder", False),
    ]
    assert found[0].reason == "job/check in shop was deleted"


@pytest.mark.parametrize("timeline", ["", "then"])
def test_what_no_deletion_explains_is_only_reported(timeline: str) -> None:
    lost = replace(INSTANCE, timeline=timeline)
    folder = replace(FOLDER, timeline=timeline, changed_at=OLD)
    assert [one.unexplained for one in judged(lost, folder)] == [True, True]
    assert [one.unexplained for one in judged(INSTANCE, timeline="")] == [True]


@pytest.mark.parametrize("kind", [LeftoverKind.FOLDER, LeftoverKind.NETWORK])
def test_what_nobody_owns_goes_when_it_is_old(kind: LeftoverKind) -> None:
    young = Leftover(kind, "x", NOW - GRACE + timedelta(seconds=1))
    assert judged(young) == []
    [found] = judged(replace(young, changed_at=NOW - GRACE))
    assert not found.unexplained


def test_a_volume_is_reported_after_a_day_as_it_may_hold_data() -> None:
    volume = Leftover(LeftoverKind.VOLUME, "x", NOW - timedelta(hours=23))
    assert judged(volume) == []
    [found] = judged(replace(volume, changed_at=OLD))
    assert found.unexplained


def test_a_socket_without_a_service_goes_at_once() -> None:
    assert judged(Leftover(LeftoverKind.SOCKET, "podman-1.sock", NOW))
