"""Status of a ClusterOperator, made of reports of this process and of those before it."""

from datetime import UTC, datetime, timedelta

from tests.support.clocks import TickingClock

from upwell.api.cluster_operator import AVAILABLE, ClusterOperatorStatus
from upwell.api.conditions import DEGRADED, find
from upwell.machine.components import Components, ComponentState
from upwell.reconcilers.components.status import component_status

START = datetime(2026, 1, 1, tzinfo=UTC)
NEW = ClusterOperatorStatus()


def written(
    before: ClusterOperatorStatus, state: ComponentState, now: datetime = START
) -> ClusterOperatorStatus:
    return component_status(before, state, "1.2.3", now)


def conditions(status: ClusterOperatorStatus) -> dict[str, tuple[str, str, str]]:
    return {one.type: (one.status, one.reason, one.message) for one in status.conditions}


def test_a_component_that_is_well_is_available() -> None:
    status = written(NEW, Components(TickingClock()).add("router").state)
    assert conditions(status) == {
        "Available": ("True", "AsExpected", ""),
        "Progressing": ("False", "AsExpected", ""),
        "Degraded": ("False", "AsExpected", ""),
    }
    assert [one.version for one in status.versions] == ["1.2.3"]


def test_a_required_component_that_is_faulty_is_not_available() -> None:
    components = Components(TickingClock())
    router, tracing = components.add("router"), components.add("tracing", required=False)
    router.fail("RouterDown", "haproxy has ended")
    tracing.fail("Unreachable", "nobody answers")

    down, less = conditions(written(NEW, router.state)), conditions(written(NEW, tracing.state))
    assert down[AVAILABLE] == ("False", "RouterDown", "haproxy has ended")
    assert down[DEGRADED] == ("True", "RouterDown", "haproxy has ended")
    assert less[AVAILABLE][0] == "True"
    assert less[DEGRADED] == ("True", "Unreachable", "nobody answers")


def test_the_times_of_conditions_are_those_of_the_report() -> None:
    router = Components(TickingClock()).add("router")
    status = written(NEW, router.state)
    router.fail("RouterDown", "haproxy has ended")
    status = written(status, router.state)
    degraded = find(status.conditions, DEGRADED)
    assert degraded is not None
    assert degraded.last_transition_time == router.state.since
    router.fail("RouterDown", "haproxy does not start")
    assert find(written(status, router.state).conditions, DEGRADED) == degraded.model_copy(
        update={"message": "haproxy does not start"}
    )


def test_an_equal_report_changes_nothing() -> None:
    router = Components(TickingClock()).add("router")
    router.fail("RouterDown", "haproxy has ended")
    router.recover()
    status = written(NEW, router.state)
    assert written(status, router.state, START + timedelta(days=1)) == status


def test_a_fault_that_was_over_before_anybody_looked_is_there() -> None:
    router = Components(TickingClock()).add("router")
    for message in ("first", "second"):
        router.fail("RouterDown", message)
        router.recover()
    faults = written(NEW, router.state).extension.faults
    assert [one.message for one in faults] == ["first", "second"]
    assert all(one.until is not None for one in faults)


def test_a_fault_of_an_earlier_process_lasts_until_there_is_a_report() -> None:
    before = Components(TickingClock()).add("router")
    before.fail("RouterDown", "haproxy has ended")
    stored = written(NEW, before.state)

    clock = TickingClock()
    clock.time += timedelta(hours=1)
    now = clock.time
    router = Components(clock).add("router")
    assert written(stored, router.state, now) == stored

    router.recover()
    (fault,) = written(stored, router.state, now).extension.faults
    assert (fault.message, fault.until) == ("haproxy has ended", now)


def test_a_fault_that_goes_on_in_the_next_process_has_not_ended_between() -> None:
    before = Components(TickingClock()).add("router")
    before.fail("RouterDown", "haproxy has ended")
    stored = written(NEW, before.state)

    clock = TickingClock()
    clock.time += timedelta(hours=1)
    router = Components(clock).add("router")
    router.fail("RouterDown", "haproxy is not installed")
    (fault,) = written(stored, router.state).extension.faults
    assert (fault.message, fault.until) == ("haproxy is not installed", None)


def test_only_the_last_faults_are_kept() -> None:
    status, clock = NEW, TickingClock()
    for _ in range(3):  # processes
        router = Components(clock).add("router")
        for number in range(7):
            router.fail("RouterDown", f"fault {number}")
            router.recover()
        status = written(status, router.state)
    assert [one.message for one in status.extension.faults][-8:] == [
        "fault 6",
        *(f"fault {number}" for number in range(7)),
    ]
    assert len(status.extension.faults) == 10
