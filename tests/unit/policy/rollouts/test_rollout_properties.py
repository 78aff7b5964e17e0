"""Rollouts under random faults: capacity, convergence, and kills between any two steps."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from upwell.policy.rollouts.rollout import (
    Replica,
    Rollout,
    RolloutStrategy,
    RolloutTarget,
    Settings,
)
from upwell.policy.rollouts.starts.exclusive_use import ExclusiveUse, one_at_a_time
from upwell.policy.rollouts.steps import (
    Drain,
    MarkComplete,
    RollBack,
    Stall,
    StartReplica,
    Step,
    Stop,
    Wait,
    next_steps,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TURNS = 400
WRITTEN = ExclusiveUse(declared=("/data",))


@dataclass
class SimulatedMachine:
    """A machine on which the new revision works or does not, and a memory that outlives kills."""

    wanted: Settings
    works: bool
    replicas: dict[str, Replica] = field(default_factory=dict)
    now: datetime = EPOCH
    target: str = "new"
    complete: bool = False

    @classmethod
    def serving_old(cls, wanted: Settings, *, works: bool) -> "SimulatedMachine":
        machine = cls(wanted, works)
        for index in range(wanted.replicas):
            old = Replica(f"old-{index}", index, "old", EPOCH, EPOCH - timedelta(hours=1))
            machine.replicas[old.name] = old
        return machine

    def steps(self) -> tuple[Step, ...]:
        rollout = Rollout(
            self.wanted,
            RolloutTarget(self.target, EPOCH, self.complete),
            self.target if self.complete else "old",
        )
        return next_steps(rollout, list(self.replicas.values()), self.now)

    def serving(self) -> int:
        return sum(one.ready and not one.drained for one in self.replicas.values())

    def reconcile(self, survives: Callable[[], bool] = lambda: True) -> bool:
        """Do what the policy says, up to a kill; return whether there was anything to do."""
        steps = self.steps()
        leaving = {step.name for step in steps if isinstance(step, Drain | Stop)}
        for one in list(self.replicas.values()):
            self.replicas[one.name] = replace(one, drained=one.name in leaving)
        for step in steps:
            if not survives():
                return True
            self._do(step)
        return bool(steps)

    def _do(self, step: Step) -> None:
        match step:
            case StartReplica():
                name = f"{step.revision}-{step.index}"
                before = self.replicas.get(name)
                restarts = before.restarts + 1 if before else 0
                started = Replica(name, step.index, step.revision, self.now, restarts=restarts)
                self.replicas[name] = started
            case Stop():
                del self.replicas[step.name]
            case MarkComplete():
                self.complete = True
            case RollBack():
                self.target, self.complete = "old", True
            case Drain() | Wait() | Stall():
                pass

    def pass_time(self, seconds: int = 10) -> None:
        """Started replicas turn ready, or end when their revision does not work."""
        self.now += timedelta(seconds=seconds)
        for one in list(self.replicas.values()):
            if one.ready or one.ended:
                continue
            works = self.works or one.revision == "old"
            self.replicas[one.name] = (
                replace(one, ready_since=self.now) if works else replace(one, ended=True)
            )

    def crash(self, at: int) -> None:
        if self.replicas:
            name = sorted(self.replicas)[at % len(self.replicas)]
            crashed = replace(self.replicas[name], ended=True, ready_since=None, drained=False)
            self.replicas[name] = crashed

    def unready(self, at: int) -> None:
        if self.replicas:
            name = sorted(self.replicas)[at % len(self.replicas)]
            self.replicas[name] = replace(self.replicas[name], ready_since=None)

    def settle(self) -> None:
        for _ in range(TURNS):
            if not self.reconcile() and all(one.ready for one in self.replicas.values()):
                return
            self.pass_time()
        raise AssertionError(f"no end after {TURNS} turns: {self.replicas}, next {self.steps()}")

    def running(self) -> set[tuple[str, int]]:
        return {(one.revision, one.index) for one in self.replicas.values()}


@st.composite
def rollout_settings(draw: st.DrawFn) -> Settings:
    strategy = draw(st.sampled_from(RolloutStrategy))
    replicas = draw(st.integers(0, 5))
    surge = draw(st.integers(0, 3))
    unavailable = draw(st.integers(0 if surge else 1, 3))
    if strategy is RolloutStrategy.ORDERED:
        surge, unavailable = 0, 1
    min_ready = timedelta(seconds=draw(st.sampled_from([0, 25])))
    made = Settings(replicas, strategy, surge, unavailable, min_ready)
    return one_at_a_time(made, WRITTEN) if draw(st.booleans()) else made


FAULTS = st.lists(
    st.tuples(st.sampled_from(["crash", "unready", "time", "kill", "none"]), st.integers(0, 9)),
    max_size=40,
)


def inflict(machine: SimulatedMachine, fault: str, number: int) -> None:
    match fault:
        case "crash":
            machine.crash(number)
        case "unready":
            machine.unready(number)
        case "time":
            machine.pass_time(number * 5)
        case _:
            pass


def reconcile_until_killed(machine: SimulatedMachine, fault: str, number: int) -> None:
    left = number if fault == "kill" else 99

    def survives() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    machine.reconcile(survives)


@given(wanted=rollout_settings(), works=st.booleans(), faults=FAULTS)
@settings(deadline=None, max_examples=150)
def test_no_step_takes_a_replica_that_the_service_needs(
    wanted: Settings, *, works: bool, faults: list[tuple[str, int]]
) -> None:
    machine = SimulatedMachine.serving_old(wanted, works=works)
    for fault, number in faults:
        inflict(machine, fault, number)
        # A step may give a drained replica its traffic back, so count all that are ready.
        before = sum(one.ready for one in machine.replicas.values())
        reconcile_until_killed(machine, fault, number)
        assert machine.serving() >= min(before, wanted.minimum)


@given(wanted=rollout_settings(), works=st.booleans(), faults=FAULTS)
@settings(deadline=None, max_examples=150)
def test_no_more_run_than_the_surge_allows(
    wanted: Settings, *, works: bool, faults: list[tuple[str, int]]
) -> None:
    machine = SimulatedMachine.serving_old(wanted, works=works)
    for fault, number in faults:
        inflict(machine, fault, number)
        reconcile_until_killed(machine, fault, number)
        assert len(machine.replicas) <= wanted.replicas + wanted.max_surge


@given(wanted=rollout_settings(), works=st.booleans(), faults=FAULTS)
@settings(deadline=None, max_examples=150)
def test_two_revisions_never_write_the_files_of_one_index(
    wanted: Settings, *, works: bool, faults: list[tuple[str, int]]
) -> None:
    machine = SimulatedMachine.serving_old(one_at_a_time(wanted, WRITTEN), works=works)
    for fault, number in faults:
        inflict(machine, fault, number)
        reconcile_until_killed(machine, fault, number)
        running = [one.index for one in machine.replicas.values() if not one.ended]
        assert len(running) == len(set(running))


@given(rollout_settings(), FAULTS)
@settings(deadline=None, max_examples=150)
def test_a_revision_that_works_ends_up_serving_alone(
    wanted: Settings, faults: list[tuple[str, int]]
) -> None:
    machine = SimulatedMachine.serving_old(wanted, works=True)
    for fault, number in faults:
        inflict(machine, fault, number)
        reconcile_until_killed(machine, fault, number)
    machine.settle()
    assert machine.complete
    assert machine.running() == {(machine.target, index) for index in range(wanted.replicas)}
    assert not machine.reconcile()


@given(rollout_settings().filter(lambda wanted: wanted.replicas > 0), st.lists(st.integers(0, 9)))
@settings(deadline=None, max_examples=150)
def test_a_revision_that_does_not_work_ends_up_rolled_back(
    wanted: Settings, kills: list[int]
) -> None:
    machine = SimulatedMachine.serving_old(wanted, works=False)
    for number in kills:
        reconcile_until_killed(machine, "kill", number)
        machine.pass_time()
    machine.settle()
    assert machine.running() == {("old", index) for index in range(wanted.replicas)}


@given(rollout_settings(), st.lists(st.integers(0, 9), max_size=30))
@settings(deadline=None, max_examples=150)
def test_kills_change_nothing_in_the_end(wanted: Settings, kills: list[int]) -> None:
    undisturbed = SimulatedMachine.serving_old(wanted, works=True)
    undisturbed.settle()
    killed = SimulatedMachine.serving_old(wanted, works=True)
    for number in kills:
        reconcile_until_killed(killed, "kill", number)
        killed.pass_time()
    killed.settle()

    assert killed.running() == undisturbed.running()
    assert killed.target == undisturbed.target
