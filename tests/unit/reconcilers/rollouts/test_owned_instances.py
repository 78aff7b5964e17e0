"""Lists of instances that owners share: how many are made, and that none is too old."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import override

import pytest
from tests.support.rollouts.counting_runtime import CountingRuntime

from upwell.api.meta import ObjectKey
from upwell.oci import Digest
from upwell.policy.rollouts.instance import key_of
from upwell.reconcilers.rollouts.instances import OwnedInstances
from upwell.reconcilers.rollouts.wiring import owners_of_instances
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 2000


def instance(number: int, state: State = State.RUNNING) -> Instance:
    return Instance(
        name=f"task-{number}",
        owner=Owner("Pod", "shop", f"task-{number}"),
        revision="1",
        state=state,
        ready=True,
        ready_since=NOW,
        started_at=NOW,
        address="",
        images={"app": Digest.of(b"")},
    )


def key(number: int) -> ObjectKey:
    return key_of(instance(number).owner)


@asynccontextmanager
async def followed(owned: OwnedInstances) -> AsyncIterator[None]:
    async def follow() -> None:
        async for _ in owned.changes():
            pass

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    yield
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def heard() -> None:
    """Let what was told come to its listener, which never waits for anything else."""
    for _ in range(MANY + 10):
        await asyncio.sleep(0)


async def test_many_owners_share_one_list_and_a_change_takes_one_more() -> None:
    machine = CountingRuntime(lambda: NOW)
    machine.shown = {f"task-{number}": instance(number) for number in range(MANY)}
    owned = OwnedInstances(machine)
    async with followed(owned):
        for number in range(MANY):
            (found,) = await owned.of(key(number))
            assert found.name == f"task-{number}"
        assert machine.lists == 1

        for number in range(MANY):
            machine.put(instance(number, State.EXITED))
        await heard()
        for number in range(MANY):
            (found,) = await owned.of(key(number))
            assert found.state is State.EXITED
        assert machine.lists == 2
        assert await owned.of(key(MANY)) == ()
        assert len(await owned.instances()) == MANY
        assert machine.lists == 3


async def test_a_change_during_a_list_is_looked_for_again() -> None:
    machine = CountingRuntime(lambda: NOW)
    owned = OwnedInstances(machine)
    async with followed(owned):
        machine.may_list.clear()
        asking = asyncio.create_task(owned.of(key(1)))
        await machine.listing.wait()
        machine.put(instance(1))
        await heard()
        machine.may_list.set()
        assert await asking == ()
        assert [one.name for one in await owned.of(key(1))] == ["task-1"]


async def test_what_was_done_to_instances_is_looked_for_before_anybody_tells_of_it() -> None:
    machine = CountingRuntime(lambda: NOW)
    owned = OwnedInstances(machine)
    async with followed(owned):
        assert await owned.of(key(1)) == ()
        machine.shown["task-1"] = instance(1)
        owned.forget(key(1))
        assert await owned.of(key(2)) == ()
        assert machine.lists == 1
        assert len(await owned.of(key(1))) == 1


async def test_while_nobody_hears_of_changes_every_question_lists() -> None:
    machine = CountingRuntime(lambda: NOW)
    owned = OwnedInstances(machine)
    for _ in range(3):
        await owned.of(key(1))
    assert machine.lists == 3
    async with followed(owned):
        machine.may_list.clear()
        asking = asyncio.create_task(owned.of(key(1)))
        await machine.listing.wait()
        async with followed(owned):  # a new subscription: the list began before it
            machine.may_list.set()
            await asking
            machine.shown["task-1"] = instance(1)
            assert len(await owned.of(key(1))) == 1


async def test_a_list_that_fails_is_made_again() -> None:
    machine = CountingRuntime(lambda: NOW)
    owned = OwnedInstances(machine)
    async with followed(owned):
        await owned.of(key(1))
        machine.put(instance(1))
        await heard()
        machine.unavailable = "podman: no answer in time"
        for _ in range(2):
            with pytest.raises(RuntimeUnavailableError):
                await owned.of(key(1))
        machine.unavailable = ""
        assert len(await owned.of(key(1))) == 1


class ScriptEndedError(Exception):
    """End of the lists that a test has written down."""


class ScriptedRuntime(CountingRuntime):
    """Gives one list after the other; None: it is unavailable."""

    def __init__(self, *lists: Sequence[Instance] | None) -> None:
        super().__init__(lambda: NOW)
        self._script = lists

    @override
    async def instances(self) -> Sequence[Instance]:
        if self.lists == len(self._script):
            raise ScriptEndedError
        self.lists += 1
        found = self._script[self.lists - 1]
        if found is None:
            raise RuntimeUnavailableError("podman: no answer in time")
        return found


async def test_owners_whose_instances_stay_as_they_are_come_in_each_tenth_look_alone() -> None:
    one, two, ended = instance(1), instance(2), instance(2, State.EXITED)
    first, changed, gone = (one, two), (one, ended), (ended,)
    again = [(instance(1), instance(2, State.EXITED)) for _ in range(5)]
    machine = ScriptedRuntime(first, first, changed, changed, gone, None, *again)
    looks: dict[int, list[str]] = {}
    with suppress(ScriptEndedError):
        async for owner in owners_of_instances(machine, 0):
            looks.setdefault(machine.lists, []).append(owner.name)
    both = ["task-1", "task-2"]
    assert looks == {1: both, 3: ["task-2"], 5: ["task-1"], 7: ["task-1"], 11: both}
