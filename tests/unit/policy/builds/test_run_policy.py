from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.builds.build import (
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildStatus,
    BuildTriggerCause,
    ImageChangeCause,
    WebHookCause,
)
from upwell.api.builds.config import RunPolicy
from upwell.api.meta import ObjectMeta
from upwell.policy.builds.run_policy import (
    beyond_history,
    blocked_by,
    default_slots,
    newest,
    queued_for_images,
    superseded,
)

NOW = datetime(2026, 5, 1, tzinfo=UTC)


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
    assert superseded(waiting, everything) == (latest, "runPolicy SerialLatestOnly")
    assert superseded(latest, everything) is None


NEW, PENDING, RUNNING = BuildPhase.NEW, BuildPhase.PENDING, BuildPhase.RUNNING
LATEST = RunPolicy.SERIAL_LATEST_ONLY
MOVED = (BuildTriggerCause(message="Image change", image_change_build=ImageChangeCause()),)
ASKED = (BuildTriggerCause(message="Manually triggered"),)
PUSHED = (BuildTriggerCause(generic_web_hook=WebHookCause()),)


def caused(
    build: Build, causes: tuple[BuildTriggerCause, ...], *, retry: bool = False, **spec: object
) -> Build:
    status = build.status.model_copy(update={"retry_time": NOW if retry else None})
    changes = {"triggered_by": causes, **spec}
    return build.model_copy(update={"spec": build.spec.model_copy(update=changes)}).with_status(
        status
    )


@pytest.mark.parametrize("policy", [*RunPolicy])
@pytest.mark.parametrize(
    ("mine", "later", "gives_way"),
    [
        pytest.param((NEW, MOVED, False), (NEW, MOVED), True, id="queued"),
        pytest.param((NEW, MOVED, False), (RUNNING, MOVED), True, id="queued, later began"),
        pytest.param((NEW, MOVED, False), (BuildPhase.COMPLETE, MOVED), True, id="overtaken"),
        pytest.param((NEW, MOVED, False), (BuildPhase.FAILED, MOVED), False, id="later failed"),
        pytest.param((PENDING, MOVED, False), (NEW, MOVED), False, id="begun"),
        pytest.param((RUNNING, MOVED, False), (NEW, MOVED), False, id="running"),
        pytest.param((NEW, MOVED, True), (NEW, MOVED), True, id="retry"),
        pytest.param((NEW, ASKED, True), (BuildPhase.COMPLETE, ASKED), True, id="retry overtaken"),
        pytest.param((NEW, ASKED, False), (BuildPhase.COMPLETE, ASKED), False, id="asked for"),
    ],
)
def test_a_queued_build_for_images_gives_way_to_newer_images(
    policy: RunPolicy,
    mine: tuple[BuildPhase, tuple[BuildTriggerCause, ...], bool],
    later: tuple[BuildPhase, tuple[BuildTriggerCause, ...]],
    *,
    gives_way: bool,
) -> None:
    phase, causes, retry = mine
    first = caused(build(1, phase, policy), causes, retry=retry)
    second = caused(build(2, later[0], policy), later[1])
    found = superseded(first, [first, second])
    assert (found is not None) is gives_way
    assert superseded(second, [first, second]) is None


@pytest.mark.parametrize("causes", [ASKED, PUSHED, (*MOVED, *PUSHED), ()])
@pytest.mark.parametrize("policy", [RunPolicy.SERIAL, RunPolicy.PARALLEL])
def test_what_somebody_asked_for_is_built_though_images_move(
    policy: RunPolicy, causes: tuple[BuildTriggerCause, ...]
) -> None:
    first = caused(build(1, NEW, policy), causes)
    second = caused(build(2, NEW, policy), MOVED)
    assert superseded(first, [first, second]) is None
    assert queued_for_images([first]) is None
    assert queued_for_images([first, second]) == second


def test_a_clone_of_a_build_for_images_is_asked_for() -> None:
    clone = caused(build(1, NEW), MOVED, forced=True)
    assert queued_for_images([clone]) is None
    assert superseded(clone, [clone, caused(build(2, NEW), MOVED)]) is None


def test_what_has_begun_goes_on_under_latest_only_when_images_move() -> None:
    begun = caused(build(1, PENDING, LATEST), MOVED)
    assert superseded(begun, [begun, caused(build(2, NEW, LATEST), MOVED)]) is None
    assert superseded(begun, [begun, caused(build(2, NEW, LATEST), ASKED)]) is not None


def test_a_build_that_waits_for_a_retry_keeps_no_later_one_waiting() -> None:
    first = caused(build(1, NEW), ASKED, retry=True)
    second = caused(build(2, NEW), ASKED)
    assert blocked_by(second, [first, second]) is None
    assert blocked_by(first, [first, second]) is None
    running = second.with_status(BuildStatus(phase=RUNNING))
    assert blocked_by(first, [first, running]) is not None


@given(
    st.lists(
        st.tuples(st.sampled_from([*BuildPhase]), st.sampled_from([MOVED, ASKED]), st.booleans()),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from([*RunPolicy]),
)
def test_of_any_builds_at_most_one_waits_for_images_and_the_newest_stays(
    made: list[tuple[BuildPhase, tuple[BuildTriggerCause, ...], bool]], policy: RunPolicy
) -> None:
    builds = [
        caused(build(number, phase, policy), causes, retry=retry)
        for number, (phase, causes, retry) in enumerate(made, 1)
    ]
    kept = [one for one in builds if superseded(one, builds) is None]
    assert builds[-1] in kept
    waiting = [one for one in kept if one.status.phase is NEW and one.spec.triggered_by == MOVED]
    assert len(waiting) <= 1
    begun = {BuildPhase.RUNNING, *(phase for phase in BuildPhase if phase.is_terminal)}
    assert [b.name for b in builds if b.status.phase in begun] == [
        b.name for b in kept if b.status.phase in begun
    ]


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
