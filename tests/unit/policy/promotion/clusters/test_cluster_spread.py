"""Spread of a Release over clusters: whatever happens on them, the bounds hold."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import ClusterPhase, ClusterProgress, Stage, StageClusters
from upwell.policy.promotion.clusters.catching_up import with_drift
from upwell.policy.promotion.clusters.spread import ClusterSpread
from upwell.policy.promotion.clusters.targets import ClusterTarget
from upwell.policy.promotion.rollouts import RolledOut, StageRollout

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OUTCOMES = st.sampled_from(
    [
        StageRollout(RolledOut.COMPLETE),
        StageRollout(RolledOut.GOING_ON, "waits for replicas"),
        StageRollout(RolledOut.GOING_ON, "no answer", away=True),
        StageRollout(RolledOut.FAILED, "no progress"),
        StageRollout(RolledOut.TAKEN_OVER, "somebody else owns it"),
    ]
)


def target(number: int, *, canaries: int, away: bool = False) -> ClusterTarget:
    cluster = Cluster(metadata=ObjectMeta(name=f"c{number}"))
    return ClusterTarget(cluster, number < canaries, "no route" if away else "")


def stage(at_once: int, unavailable: int) -> Stage:
    chosen = StageClusters(max_concurrency=at_once, max_unavailable=unavailable)
    return Stage(name="production", clusters=chosen)


@given(
    st.integers(1, 8),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 3),
    st.data(),
)
def test_canaries_go_first_steps_are_bounded_and_too_many_behind_stop_it(
    count: int, canaries: int, at_once: int, unavailable: int, data: st.DataObject
) -> None:
    records: Sequence[ClusterProgress] = ()
    for _ in range(12):
        targets = [
            target(one, canaries=canaries, away=data.draw(st.booleans())) for one in range(count)
        ]
        spread = ClusterSpread.of(stage(at_once, unavailable), "shop-2", targets, records)
        before = {one.name: spread.phase(one) for one in targets}
        due = spread.due()
        new = [one for one in due if before[one.name] is ClusterPhase.WAITING]
        rolling = [one for one in due if before[one.name] is ClusterPhase.ROLLING_OUT]
        first = [one for one in targets if one.is_canary]

        assert not any(one.away for one in due)
        if any(not one.is_canary for one in new):
            assert all(before[one.name] is ClusterPhase.COMPLETE for one in first)
            assert len(new) + len(rolling) <= at_once
        if sum(phase.is_behind for phase in before.values()) > unavailable:
            assert new == []

        found = {one.name: data.draw(OUTCOMES) for one in due}
        records = spread.records(found, NOW)
        outcome = spread.outcome(records, found)
        phases = [one.phase for one in records]
        failed = phases.count(ClusterPhase.FAILED)
        lost = any(one.phase is ClusterPhase.FAILED for one in records[: len(first)])
        assert (outcome.state is RolledOut.FAILED) == (failed > unavailable or lost)
        if outcome.state is RolledOut.COMPLETE:
            behind = sum(phase.is_behind for phase in phases)
            assert behind <= unavailable
            assert phases.count(ClusterPhase.COMPLETE) + behind == count
        if outcome.state is not RolledOut.GOING_ON:
            return


def test_each_cluster_has_the_time_of_the_stage_and_absence_does_not_count() -> None:
    going = StageRollout(RolledOut.GOING_ON, "waits for replicas")
    limited = stage(1, 0).model_copy(update={"rollout_seconds": 60})

    def after(
        records: Sequence[ClusterProgress], seconds: int, *, away: bool = False
    ) -> tuple[ClusterProgress, ...]:
        targets = [target(0, canaries=0, away=away)]
        spread = ClusterSpread.of(limited, "shop-2", targets, records)
        found = {one.name: going for one in spread.due()}
        return spread.records(found, NOW + timedelta(seconds=seconds))

    begun = after((), 0)
    assert after(begun, 59)[0].phase is ClusterPhase.ROLLING_OUT
    late = after(begun, 60)[0]
    assert late.phase is ClusterPhase.FAILED
    assert late.message == "not rolled out after 60 s: waits for replicas"

    away = after(after(begun, 50), 55, away=True)
    back = after(away, 500)
    assert [one.phase for one in (*away, *back)] == [ClusterPhase.AWAY, ClusterPhase.ROLLING_OUT]
    assert after(back, 559)[0].phase is ClusterPhase.ROLLING_OUT


def test_what_was_recorded_of_another_release_says_nothing() -> None:
    record = ClusterProgress(name="c0", release="shop-1", phase=ClusterPhase.FAILED)
    spread = ClusterSpread.of(stage(1, 0), "shop-2", [target(0, canaries=0)], [record])

    assert [one.name for one in spread.due()] == ["c0"]


COMPLETE = StageRollout(RolledOut.COMPLETE)


@pytest.mark.parametrize(
    ("between", "away", "arrives_anew"),
    [
        (None, True, False),
        (StageRollout(RolledOut.GOING_ON, "no answer", away=True), False, False),
        (StageRollout(RolledOut.GOING_ON, "waits for replicas"), False, False),
        (StageRollout(RolledOut.TAKEN_OVER, "somebody else owns it"), False, True),
    ],
)
def test_a_cluster_has_a_release_since_it_arrived_there_and_not_since_it_was_seen_again(
    between: StageRollout | None,
    away: bool,  # noqa: FBT001 - a parameter of the test
    arrives_anew: bool,  # noqa: FBT001 - the same
) -> None:
    records: Sequence[ClusterProgress] = ()
    looks = ((NOW, COMPLETE, False), (NOW + HOUR, between, away), (NOW + 2 * HOUR, COMPLETE, False))
    for at, found, is_away in looks:
        there = [target(0, canaries=0, away=is_away)]
        spread = ClusterSpread.of(stage(1, 1), "shop-2", there, records)
        records = spread.records({} if found is None else {"c0": found}, at)
    [record] = records
    assert record.phase is ClusterPhase.COMPLETE
    assert record.since == (NOW + 2 * HOUR if arrives_anew else NOW)


def test_a_cluster_that_had_something_else_has_a_release_since_that_was_put_back() -> None:
    later = NOW + 2 * HOUR
    record = ClusterProgress(
        name="c0", release="shop-2", phase=ClusterPhase.COMPLETE, since=NOW, arrived=NOW
    )
    [drifted] = with_drift([record], {"c0": "web runs another image"}, "undo it", NOW + HOUR)
    assert (drifted.phase, drifted.arrived) == (ClusterPhase.DRIFTED, None)
    [back] = with_drift([drifted], {"c0": ""}, "undo it", later)
    assert (back.phase, back.since, back.arrived) == (ClusterPhase.COMPLETE, later, later)
