"""The backlog of builds, and the estimate of the time that it takes."""

from datetime import UTC, datetime, timedelta

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildStatus,
)
from upwell.api.builds.config import RunPolicy
from upwell.api.meta import ObjectMeta
from upwell.policy.builds.backlog import Backlog, backlog_of, turns_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def build(number: int, status: BuildStatus, policy: RunPolicy = RunPolicy.SERIAL) -> Build:
    annotations = {BUILD_NUMBER_ANNOTATION: str(number)}
    labels: dict[str, str] = {RUN_POLICY_LABEL: policy, BUILD_CONFIG_LABEL: "b"}
    meta = ObjectMeta(name=f"b-{number}", annotations=annotations, labels=labels)
    return Build(metadata=meta, status=status)


def ended(number: int, seconds: int) -> Build:
    began = NOW - timedelta(hours=1)
    status = BuildStatus(
        phase=BuildPhase.COMPLETE,
        start_timestamp=began,
        completion_timestamp=began + timedelta(seconds=seconds),
    )
    return build(number, status)


def waiting(number: int, policy: RunPolicy = RunPolicy.SERIAL) -> Build:
    return build(number, BuildStatus(reason="NoFreeSlot"), policy)


def running(number: int, seconds: int) -> Build:
    began = NOW - timedelta(seconds=seconds)
    return build(number, BuildStatus(phase=BuildPhase.RUNNING, start_timestamp=began))


def remaining(*configs: list[Build]) -> float | None:
    left = backlog_of(configs, NOW).remaining
    return left.total_seconds() if left is not None else None


def test_as_many_run_at_a_time_as_do_now() -> None:
    busy = [[ended(1, 10), running(2, 4)] for _ in range(2)]
    queued = [[ended(1, 10), waiting(2)] for _ in range(300)]
    assert remaining(*busy, *queued) == (2 * 6 + 300 * 10) / 2


def test_each_takes_the_median_of_the_last_five_of_its_config() -> None:
    lengths = [1000, 1000, 1000, 9, 10, 11, 500, 2]
    assert remaining([*(ended(n, length) for n, length in enumerate(lengths)), waiting(9)]) == 10


def test_one_without_history_takes_what_others_take_and_is_counted() -> None:
    found = backlog_of([[ended(1, 30)], [waiting(1)]], NOW)
    assert found == Backlog(1, 0, timedelta(seconds=30), guessed=1)


def test_without_any_history_nothing_is_claimed() -> None:
    assert backlog_of([[waiting(1)], [running(1, 5)]], NOW) == Backlog(1, 1, None, guessed=1)


def test_builds_of_one_config_follow_one_another_unless_they_may_run_beside() -> None:
    busy = [[ended(1, 10), running(2, 0)] for _ in range(4)]
    serial = [ended(1, 10), *(waiting(number) for number in range(2, 12))]
    parallel = [ended(1, 10), *(waiting(n, RunPolicy.PARALLEL) for n in range(2, 12))]
    assert remaining(*busy, serial) == 100
    assert remaining(*busy, parallel) == 35


def test_builds_of_no_config_wait_for_nobody() -> None:
    busy = [[ended(1, 10), running(2, 0)] for _ in range(4)]
    own = [build(n, BuildStatus(reason="NoFreeSlot")).with_metadata(labels={}) for n in range(8)]
    assert remaining(*busy, own) == 30


def test_one_that_takes_longer_than_it_ever_did_is_due_at_any_time() -> None:
    assert remaining([ended(1, 10), running(2, 3600)]) == 0


def test_what_lacks_more_than_its_turn_is_not_waited_for() -> None:
    due = NOW + timedelta(hours=1)
    others = [
        build(2, BuildStatus(reason="PushImageToRegistryFailed", retry_time=due)),
        build(3, BuildStatus(reason="InvalidImageReference")),
        build(4, BuildStatus(reason="NoFreeSlot", cancelled=True)),
    ]
    assert backlog_of([[ended(1, 10), *others]], NOW) == Backlog(0, 0, timedelta())


def begun(
    *configs: list[Build],
    weights: dict[str, int] | None = None,
    urgent: dict[str, int] | None = None,
) -> dict[str, float]:
    """Return in how many seconds each build begins, in their order; -1: it is not known."""
    turns = turns_of(
        configs,
        NOW,
        lambda config: (weights or {}).get(config.name, 0),
        lambda build: ((urgent or {}).get(build.name, 0), 0),
    )
    order = sorted(turns.items(), key=lambda item: item[1].place)
    assert [turn.place for _, turn in order] == list(range(1, len(order) + 1))
    return {
        key.name: turn.begins.total_seconds() if turn.begins is not None else -1.0
        for key, turn in order
    }


def of_config(name: str, *builds: Build) -> list[Build]:
    """Return the builds as those of another BuildConfig."""
    return [
        one.with_metadata(
            name=one.name.replace("b-", f"{name}-"),
            labels={**one.labels, BUILD_CONFIG_LABEL: name},
        )
        for one in builds
    ]


def test_what_most_stands_on_begins_first_and_as_many_as_run_now() -> None:
    busy = [of_config(name, ended(1, 10), running(2, 4)) for name in ("x", "y")]
    queued = [of_config(name, ended(1, 30), waiting(2)) for name in ("a", "b", "c")]
    begins = begun(*busy, *queued, weights={"a": 1, "b": 7, "c": 3})
    assert list(begins.items()) == [("b-2", 6.0), ("c-2", 6.0), ("a-2", 36.0)]


def test_the_most_urgent_change_begins_before_that_on_which_most_stands() -> None:
    queued = [of_config(name, ended(1, 30), waiting(2)) for name in ("a", "b", "c")]
    begins = begun(*queued, weights={"a": 1, "b": 7}, urgent={"c-2": 3, "b-2": -1})
    assert list(begins) == ["c-2", "a-2", "b-2"]


def test_a_build_waits_for_those_of_its_config_before_it() -> None:
    serial = of_config("a", ended(1, 10), running(2, 4), waiting(3), waiting(4))
    both = of_config("p", ended(1, 5), *(waiting(n, RunPolicy.PARALLEL) for n in (2, 3)))
    begins = begun(serial, both)
    assert begins["a-4"] > begins["a-3"] >= 6.0
    assert sorted(begins) == ["a-3", "a-4", "p-2", "p-3"]


def test_without_a_build_that_has_ended_the_place_alone_is_known() -> None:
    assert begun([waiting(1)]) == {"b-1": -1.0}


def test_a_build_that_waits_for_its_input_has_no_turn() -> None:
    lacking = build(2, BuildStatus(reason="InvalidOutputReference"))
    assert begun([ended(1, 3), lacking]) == {}


def test_turns_of_three_hundred_builds_on_one_base() -> None:
    queued = [of_config(f"c{n}", ended(1, 10), waiting(2)) for n in range(300)]
    busy = [of_config(name, ended(1, 10), running(2, 0)) for name in ("x", "y")]
    begins = begun(*busy, *queued)
    assert max(begins.values()) == 10.0 + 149 * 10
    assert remaining(*busy, *queued) == max(begins.values()) + 10
