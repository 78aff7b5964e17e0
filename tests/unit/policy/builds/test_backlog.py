"""The backlog of builds, and the estimate of the time that it takes."""

from datetime import UTC, datetime, timedelta

from upwell.api.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildStatus,
    RunPolicy,
)
from upwell.api.meta import ObjectMeta
from upwell.policy.builds.backlog import Backlog, backlog_of

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
