"""Steps of a rollout after each state, one situation at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upwell.policy.rollouts.rollout import (
    UNPROBED_MIN_READY,
    Replica,
    Rollout,
    RolloutStrategy,
    RolloutTarget,
    Settings,
)
from upwell.policy.rollouts.steps import (
    Drain,
    FailureReason,
    MarkComplete,
    RollBack,
    Stall,
    StartReplica,
    Stop,
    Wait,
    next_steps,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGES = timedelta(hours=1)


def second(number: float) -> timedelta:
    return timedelta(seconds=number)


def replica(revision: str, index: int = 0, *, ready: bool = True, **changes: object) -> Replica:
    one = Replica(f"{revision}-{index}", index, revision, NOW - AGES, NOW - AGES if ready else None)
    return replace(one, **changes)  # type: ignore[arg-type]


def ended(revision: str, index: int = 0, *, restarts: int, ago: float) -> Replica:
    return replica(
        revision,
        index,
        ready=False,
        ended=True,
        restarts=restarts,
        started_at=NOW - second(ago),
    )


def rolling_out(settings: Settings | None = None, *, good: str | None = "old") -> Rollout:
    return Rollout(settings or Settings(), RolloutTarget("new", NOW, complete=False), good)


def settled(settings: Settings | None = None) -> Rollout:
    return Rollout(settings or Settings(), RolloutTarget("new", NOW - AGES, complete=True), "new")


def test_a_new_replica_starts_beside_the_old_one() -> None:
    steps = next_steps(rolling_out(), [replica("old")], NOW)

    assert steps == (StartReplica("new", 0), Wait(NOW + second(600)))


def test_the_old_one_stays_until_the_new_one_is_ready() -> None:
    starting = replica("new", ready=False, started_at=NOW)

    assert next_steps(rolling_out(), [replica("old"), starting], NOW) == (Wait(NOW + second(600)),)


def test_an_old_replica_drains_before_it_stops() -> None:
    both = [replica("old"), replica("new")]
    drained = [replica("old", drained=True), replica("new")]

    assert next_steps(rolling_out(), both, NOW) == (Drain("old-0"),)
    assert next_steps(rolling_out(), drained, NOW) == (Stop("old-0"),)


def test_a_drained_old_replica_takes_traffic_again_when_the_new_one_fails() -> None:
    replicas = [replica("old", drained=True), replica("new", ready=False)]

    steps = next_steps(rolling_out(), replicas, NOW)

    assert Stop("old-0") not in steps
    assert Drain("old-0") not in steps


def test_a_rollout_is_complete_when_nothing_else_runs() -> None:
    assert next_steps(rolling_out(), [replica("new")], NOW) == (MarkComplete(),)
    assert next_steps(settled(), [replica("new")], NOW) == ()


def test_min_ready_seconds_hold_the_old_one_back() -> None:
    rollout = rolling_out(Settings(min_ready=second(30)))
    fresh = replica("new", ready_since=NOW - second(10))

    assert next_steps(rollout, [replica("old"), fresh], NOW) == (Wait(NOW + second(20)),)
    assert next_steps(rollout, [replica("old"), fresh], NOW + second(20)) == (Drain("old-0"),)


def test_without_a_probe_the_new_one_has_to_stay_up_first() -> None:
    fresh = replica("new", ready_since=NOW, probed=False)
    up = UNPROBED_MIN_READY

    assert next_steps(rolling_out(), [replica("old"), fresh], NOW) == (Wait(NOW + up),)
    assert next_steps(rolling_out(), [replica("old"), fresh], NOW + up) == (Drain("old-0"),)
    assert next_steps(rolling_out(), [fresh], NOW) == (Wait(NOW + up),)
    assert next_steps(rolling_out(), [fresh], NOW + up) == (MarkComplete(),)


def test_a_longer_min_ready_holds_without_a_probe_too() -> None:
    rollout = rolling_out(Settings(min_ready=second(30)))
    fresh = replica("new", ready_since=NOW, probed=False)

    assert next_steps(rollout, [fresh], NOW + second(29)) == (Wait(NOW + second(30)),)
    assert next_steps(rollout, [fresh], NOW + second(30)) == (MarkComplete(),)


@pytest.mark.parametrize(
    ("restarts", "wait"), [(0, 10), (1, 20), (2, 40), (3, 80), (4, 160), (5, 300), (60, 300)]
)
def test_a_crashed_replica_is_started_again_after_its_backoff(restarts: int, wait: int) -> None:
    crashed = ended("new", restarts=restarts, ago=wait - 1)

    assert next_steps(settled(), [crashed], NOW) == (Wait(NOW + second(1)),)
    assert next_steps(settled(), [crashed], NOW + second(1)) == (StartReplica("new", 0),)


def test_a_start_that_was_cut_short_is_taken_up_at_once() -> None:
    cut_short = replica(
        "new", ready=False, ended=True, interrupted=True, restarts=2, started_at=NOW
    )

    assert next_steps(rolling_out(), [replica("old"), cut_short], NOW)[0] == StartReplica("new", 0)


def test_three_ended_starts_roll_back_before_the_deadline() -> None:
    looping = ended("new", restarts=2, ago=1)

    steps = next_steps(rolling_out(), [replica("old"), looping], NOW)

    assert steps == (RollBack(FailureReason.CRASH_LOOPING, looping),)


def test_two_ended_starts_do_not() -> None:
    steps = next_steps(rolling_out(), [replica("old"), ended("new", restarts=1, ago=1)], NOW)

    assert not [step for step in steps if isinstance(step, RollBack)]


def test_a_revision_that_is_never_ready_rolls_back_at_its_deadline() -> None:
    hanging = replica("new", ready=False, started_at=NOW + second(5))
    replicas = [replica("old"), hanging]

    assert next_steps(rolling_out(), replicas, NOW + second(604)) == (Wait(NOW + second(605)),)
    assert next_steps(rolling_out(), replicas, NOW + second(605)) == (
        RollBack(FailureReason.NEVER_READY, hanging),
    )


def test_a_revision_of_which_nothing_started_rolls_back_at_its_deadline() -> None:
    steps = next_steps(rolling_out(), [replica("old")], NOW + second(600))

    assert steps == (RollBack(FailureReason.NEVER_READY, None),)


def test_a_long_drain_is_not_the_new_revisions_failure() -> None:
    replicas = [replica("old"), replica("new", ready_since=NOW)]

    assert next_steps(rolling_out(), replicas, NOW + AGES) == (Drain("old-0"),)


def test_a_first_rollout_that_fails_is_tried_on() -> None:
    looping = ended("new", restarts=2, ago=40)

    steps = next_steps(rolling_out(good=None), [looping], NOW)

    assert steps[:2] == (StartReplica("new", 0), Stall(FailureReason.CRASH_LOOPING, looping))


def lost(*, losses: int, ago: float, **changes: object) -> Replica:
    one = ended("new", restarts=2, ago=ago)
    return replace(one, interrupted=True, losses=losses, **changes)  # type: ignore[arg-type]


def test_what_the_machine_lost_is_started_anew_at_once_and_held_against_nobody() -> None:
    steps = next_steps(rolling_out(), [replica("old"), lost(losses=1, ago=0)], NOW)

    assert steps == (StartReplica("new", 0), Wait(NOW + second(600)))


@pytest.mark.parametrize(
    ("losses", "seconds"), [(1, 0), (2, 10), (3, 20), (6, 160), (7, 300), (9999, 300)]
)
def test_what_is_lost_again_and_again_is_started_more_and_more_rarely(
    losses: int, seconds: float
) -> None:
    assert lost(losses=losses, ago=0).restart_at == NOW + second(seconds)
    assert lost(losses=losses, ago=300).restart_at <= NOW


def test_what_was_lost_and_made_anew_has_its_time_again() -> None:
    again = replica("new", ready=False, restarts=1, losses=1, started_at=NOW + second(599))

    steps = next_steps(rolling_out(), [replica("old"), again], NOW + second(600))

    assert steps == (Wait(NOW + second(1199)),)


@pytest.mark.parametrize("limit", [None, second(700)])
def test_no_time_in_which_the_machine_was_at_fault_counts(limit: timedelta | None) -> None:
    settings = Settings(active_deadline=limit)
    rollout = rolling_out(settings)
    target = replace(rollout.target, well_since=NOW + AGES)
    rollout = replace(rollout, target=target)
    waits = [replica("old"), replica("new", ready=False)]

    assert next_steps(rollout, waits, NOW + AGES) == (Wait(NOW + AGES + second(600)),)
    [failed] = next_steps(rollout, waits, NOW + AGES + second(600))
    assert isinstance(failed, RollBack)
    assert failed.reason is FailureReason.NEVER_READY


def test_a_complete_revision_never_fails() -> None:
    looping = ended("new", restarts=7, ago=300)

    assert next_steps(settled(), [looping], NOW) == (StartReplica("new", 0),)


def test_a_complete_revision_on_probation_is_rolled_back_when_it_crashes_again_and_again() -> None:
    looping = ended("new", restarts=2, ago=100)
    target = RolloutTarget("new", NOW - AGES, complete=True)
    on_probation = Rollout(Settings(), replace(target, probation=NOW), "new")
    over = Rollout(Settings(), replace(target, probation=NOW - second(101)), "new")

    assert next_steps(on_probation, [looping], NOW) == (
        RollBack(FailureReason.CRASH_LOOPING, looping),
    )
    assert next_steps(over, [looping], NOW) == (StartReplica("new", 0),)
    for harmless in (ended("new", restarts=1, ago=100), replace(looping, interrupted=True)):
        assert next_steps(on_probation, [harmless], NOW) == (StartReplica("new", 0),)


@pytest.mark.parametrize(("well", "again"), [(200, True), (101, True), (700, False), (50, False)])
def test_probation_begins_anew_when_nobody_watched_within_it(well: int, *, again: bool) -> None:
    settings = Settings(deadline=second(600))
    completed = NOW - second(700)
    looping = ended("new", restarts=2, ago=90)
    target = RolloutTarget("new", NOW - AGES, complete=True, probation=completed + second(600))
    unwatched = Rollout(settings, replace(target, well_since=NOW - second(well)), "new")
    found = next_steps(unwatched, [looping], NOW)
    assert (found == (RollBack(FailureReason.CRASH_LOOPING, looping),)) is again


def test_a_failed_revision_leaves_and_the_good_one_is_made_whole() -> None:
    settings = Settings(replicas=2, max_surge=1, max_unavailable=1)
    replicas = [replica("old", 1), replica("bad", 0, ready=False), replica("bad", 1)]
    rollout = Rollout(settings, RolloutTarget("old", NOW - AGES, complete=True), "old")

    steps = next_steps(rollout, replicas, NOW)

    assert set(steps) == {Stop("bad-0"), Drain("bad-1")}
    assert next_steps(rollout, replicas[:1], NOW) == (StartReplica("old", 0),)


def test_scaling_down_drains_the_highest_index() -> None:
    three = [replica("new", index) for index in range(3)]

    assert next_steps(settled(Settings(replicas=1)), three, NOW) == (
        Drain("new-2"),
        Drain("new-1"),
    )


def test_scaling_to_nothing_drains_everything() -> None:
    assert next_steps(settled(Settings(replicas=0)), [replica("new")], NOW) == (Drain("new-0"),)


def test_a_good_replica_that_is_not_ready_just_now_is_kept_until_it_can_be_spared() -> None:
    old = replica("old", ready=False)

    assert Stop("old-0") not in next_steps(rolling_out(), [old, replica("new", ready=False)], NOW)
    assert next_steps(rolling_out(), [old, replica("new")], NOW) == (Stop("old-0"),)


def test_the_good_revision_is_restarted_while_the_new_one_starts() -> None:
    replicas = [ended("old", restarts=0, ago=10), replica("new", ready=False, started_at=NOW)]

    assert StartReplica("old", 0) in next_steps(rolling_out(), replicas, NOW)


def test_recreate_stops_all_before_it_starts_any() -> None:
    rollout = rolling_out(Settings(replicas=2, strategy=RolloutStrategy.RECREATE))
    old = [replica("old", 0), replica("old", 1)]

    assert next_steps(rollout, old, NOW)[:-1] == (Drain("old-1"), Drain("old-0"))
    assert next_steps(rollout, [], NOW)[:-1] == (StartReplica("new", 0), StartReplica("new", 1))


def test_a_paused_rollout_stands_still_but_what_serves_is_kept_up() -> None:
    rollout = rolling_out(Settings(paused=True))

    assert next_steps(rollout, [replica("old"), replica("new")], NOW + AGES) == ()
    assert next_steps(rollout, [ended("old", restarts=0, ago=10)], NOW) == (StartReplica("old", 0),)


def test_ordered_replicas_start_one_after_the_other() -> None:
    settings = Settings(
        replicas=3, strategy=RolloutStrategy.ORDERED, max_surge=0, max_unavailable=1
    )
    rollout = rolling_out(settings, good=None)

    assert StartReplica("new", 1) not in next_steps(rollout, [replica("new", ready=False)], NOW)
    assert next_steps(rollout, [replica("new")], NOW)[0] == StartReplica("new", 1)


def test_ordered_replicas_are_replaced_from_the_highest_down() -> None:
    settings = Settings(
        replicas=2, strategy=RolloutStrategy.ORDERED, max_surge=0, max_unavailable=1
    )
    rollout = rolling_out(settings)
    half = [replica("old", 0), replica("new", 1)]
    not_yet = [replica("old", 0), replica("new", 1, ready=False)]

    first = next_steps(rollout, [replica("old", 0), replica("old", 1)], NOW)

    assert first[0] == Drain("old-1")
    assert next_steps(rollout, [replica("old", 0)], NOW)[0] == StartReplica("new", 1)
    assert Drain("old-0") not in next_steps(rollout, not_yet, NOW)
    assert next_steps(rollout, half, NOW)[0] == Drain("old-0")


def test_what_is_stopping_has_its_place_and_is_counted_on_by_nobody() -> None:
    stopping = replica("new", 1, stopping=True)
    crashed = ended("new", restarts=0, ago=60)

    steps = next_steps(settled(Settings(replicas=1)), [crashed, stopping], NOW)

    assert steps == (Stop("new-1"), StartReplica("new", 0))
    again = next_steps(settled(Settings(replicas=2)), [replica("new"), stopping], NOW)
    assert again == (Stop("new-1"),)


def test_no_old_replica_goes_for_a_new_one_that_is_stopping() -> None:
    old, new = replica("old"), replica("new", stopping=True)

    steps = next_steps(rolling_out(Settings(max_surge=0, max_unavailable=0)), [old, new], NOW)

    assert Drain("old-0") not in steps
