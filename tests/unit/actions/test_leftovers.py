"""Leftovers by way of the action: what goes, what is only shown, what a person confirms."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.pruning.pruned_stores import PrunedStores
from tests.support.rollouts.memory_machine import TIMELINE
from tests.support.workload.waiting import eventually

from upwell.actions.pruning import PruningActions
from upwell.api.requests.prune import PruneSpec
from upwell.machine.components import Components
from upwell.oci import Digest
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning import LeftoverSweep
from upwell.workload.interface import Leftover, LeftoverKind


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[PrunedStores]:
    made = PrunedStores(tmp_path)
    await made.run("lost", Digest.of(b"good"))
    yield made
    made.inventory.close()


def actions(machine: PrunedStores, timeline: str) -> PruningActions:
    sweep = LeftoverSweep(machine.store, machine.runtime, timeline, machine.stores.clock)
    return PruningActions(machine.pruning, sweep, Rules())


async def test_what_a_deletion_left_goes_with_the_rest(machine: PrunedStores) -> None:
    shown = await actions(machine, TIMELINE).prune(PruneSpec())
    assert [(one.what, one.name) for one in shown.items] == [("instance", "lost")]
    assert machine.runtime.names() == ["lost"]

    await actions(machine, TIMELINE).prune(PruneSpec(confirm=True))
    assert machine.runtime.names() == []


async def test_what_is_unexplained_takes_a_request_of_its_own(machine: PrunedStores) -> None:
    kept = await actions(machine, "another").prune(PruneSpec(confirm=True))
    assert kept.items == ()
    assert [one.name for one in kept.unexplained] == ["lost"]
    await actions(machine, "another").prune(PruneSpec(leftovers=True))
    assert machine.runtime.names() == ["lost"]

    gone = await actions(machine, "another").prune(PruneSpec(leftovers=True, confirm=True))
    assert [one.name for one in gone.items] == ["lost"]
    assert gone.unexplained == ()
    assert machine.runtime.names() == []


async def test_the_hourly_sweep_reports_what_is_unexplained(machine: PrunedStores) -> None:
    component = Components().add("instances", required=False)
    sweep = LeftoverSweep(
        machine.store, machine.runtime, "another", machine.stores.clock, component
    )
    await sweep.look_after()
    assert component.state.reason == "InstancesWithoutOwner"
    assert "lost" in component.state.message

    await sweep.remove(await sweep.find(), unexplained=True)
    assert not component.state.faulty


async def test_owners_that_are_applied_again_are_noticed_before_the_next_hour(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.reconcilers.pruning.sweep._UNEXPLAINED_SECONDS", 0.01)
    component = Components().add("instances", required=False)
    sweep = LeftoverSweep(
        machine.store, machine.runtime, "another", machine.stores.clock, component
    )

    async def reason() -> str:
        return component.state.reason

    running = asyncio.create_task(sweep.run())
    await eventually(reason, bool)
    await machine.runtime.stop("lost", 0)
    await eventually(reason, lambda seen: not seen)
    running.cancel()


async def test_instances_are_stopped_beside_each_other(machine: PrunedStores) -> None:
    await machine.run("second", Digest.of(b"good"))
    both = asyncio.Barrier(2)
    stop = machine.runtime.stop

    async def slow(name: str, grace_seconds: float) -> None:
        await both.wait()
        await stop(name, grace_seconds)

    machine.runtime.stop = slow  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        gone = await actions(machine, "another").prune(PruneSpec(leftovers=True, confirm=True))
    assert [one.name for one in gone.items] == ["lost", "second"]


async def test_volumes_that_may_hold_data_are_reported_and_stay(machine: PrunedStores) -> None:
    component = Components().add("instances", required=False)
    sweep = LeftoverSweep(machine.store, machine.runtime, TIMELINE, machine.stores.clock, component)
    await sweep.look_after()  # what a deletion left is gone
    old = machine.stores.clock() - timedelta(days=2)
    machine.runtime.left = [Leftover(LeftoverKind.VOLUME, "5fca", old)]
    await sweep.look_after()
    assert [one.name for one in machine.runtime.left] == ["5fca"]
    assert component.state.reason == "VolumesWithoutContainer"
    assert "5fca" in component.state.message
    assert "upwell prune --leftovers --confirm" in component.state.message
