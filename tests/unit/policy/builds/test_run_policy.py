import pytest

from upwell.api.build import (
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildStatus,
    RunPolicy,
)
from upwell.api.meta import ObjectMeta
from upwell.policy.builds.run_policy import (
    beyond_history,
    blocked_by,
    default_slots,
    newest,
    superseded,
)


def build(number: int, phase: BuildPhase, policy: RunPolicy = RunPolicy.SERIAL) -> Build:
    return Build(
        metadata=ObjectMeta(
            name=f"app-{number}",
            namespace="shop",
            annotations={BUILD_NUMBER_ANNOTATION: str(number)},
            labels={RUN_POLICY_LABEL: policy},
        ),
        status=BuildStatus(phase=phase),
    )


@pytest.mark.parametrize(
    ("others", "policy", "reason"),
    [
        ([], RunPolicy.SERIAL, None),
        ([build(1, BuildPhase.RUNNING)], RunPolicy.SERIAL, "app-1, which is Running"),
        ([build(1, BuildPhase.COMPLETE)], RunPolicy.SERIAL, None),
        ([build(1, BuildPhase.NEW)], RunPolicy.SERIAL, "app-1, which is before it"),
        ([build(9, BuildPhase.NEW)], RunPolicy.SERIAL, None),
        (
            [build(1, BuildPhase.RUNNING, RunPolicy.PARALLEL)],
            RunPolicy.PARALLEL,
            None,
        ),
        ([build(1, BuildPhase.RUNNING)], RunPolicy.PARALLEL, "app-1, which is Running"),
        ([build(1, BuildPhase.NEW)], RunPolicy.SERIAL_LATEST_ONLY, None),
    ],
)
def test_a_build_waits_for_those_that_its_policy_names(
    others: list[Build], policy: RunPolicy, reason: str | None
) -> None:
    mine = build(2, BuildPhase.NEW, policy)
    answer = blocked_by(mine, [*others, mine])
    if reason is None:
        assert answer is None
    else:
        assert answer is not None
        assert reason in answer


def test_only_the_latest_waiting_build_stays_and_the_running_one_is_left_alone() -> None:
    policy = RunPolicy.SERIAL_LATEST_ONLY
    running = build(1, BuildPhase.RUNNING, policy)
    waiting = build(2, BuildPhase.NEW, policy)
    latest = build(3, BuildPhase.NEW, policy)
    everything = [running, waiting, latest]
    assert superseded(running, everything) is None
    assert superseded(waiting, everything) == latest
    assert superseded(latest, everything) is None


def test_history_keeps_the_newest_of_each_kind_and_always_the_last_build() -> None:
    builds = [build(n, BuildPhase.COMPLETE) for n in range(1, 5)]
    builds += [build(n, BuildPhase.FAILED) for n in range(5, 8)]
    gone = beyond_history(builds, successful_limit=2, failed_limit=0)
    assert [b.name for b in gone] == ["app-1", "app-2", "app-5", "app-6"]


def test_numbers_decide_which_build_is_newest() -> None:
    builds = [build(n, BuildPhase.COMPLETE) for n in (9, 10, 2)]
    last = newest(builds)
    assert last is not None
    assert last.name == "app-10"
    assert newest([]) is None


@pytest.mark.parametrize(
    ("processors", "gibibytes", "slots"),
    [(1, 64, 2), (2, 23, 2), (16, 64, 8), (16, 8, 4), (16, 3, 1), (1, 1, 1)],
)
def test_builds_at_once_are_what_processors_and_memory_allow(
    processors: int, gibibytes: int, slots: int
) -> None:
    assert default_slots(processors, gibibytes * 1024**3) == slots
