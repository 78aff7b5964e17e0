"""What was changed by hand: seen, shown, and mended or left alone."""

from dataclasses import replace

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, World
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import KEY, deployment

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.api.meta import Condition
from upwell.oci import Reference


async def drifted(world: World) -> Condition:
    stored = await world.store.get(Deployment, "shop", "web")
    found = find(stored.status.conditions, "Drifted")
    assert found is not None
    return found


@pytest.fixture
async def world() -> World:
    world = World()
    await world.apply(deployment(GOOD, replicas=2))
    await world.settle(KEY)
    return world


def make_foreign(world: World) -> str:
    name, (spec, instance) = next(iter(world.runtime.running.items()))
    world.runtime.running[name] = (spec, replace(instance, foreign=True))
    return name


async def test_what_was_made_by_hand_is_replaced(world: World) -> None:
    name = make_foreign(world)
    await world.reconcile(KEY)
    told = await drifted(world)
    assert (told.status, told.reason) == ("True", "ChangedByHand")
    assert f"instance {name} was made by hand; mended" in told.message

    await world.settle(KEY)
    assert (await drifted(world)).status == "False"
    assert len(world.runtime.names()) == 2
    assert not any(one.foreign for one in await world.runtime.instances())


async def test_it_is_left_alone_where_it_is_only_reported(world: World) -> None:
    current = await world.store.get(Deployment, "shop", "web")
    annotations = {"upwell.dev/drift": "report"}
    await world.store.update(current.with_metadata(annotations=annotations))
    await world.settle(KEY)
    world.calls.clear()
    make_foreign(world)
    await world.settle(KEY)

    assert "reported only" in (await drifted(world)).message
    assert not [call for call in world.calls if call.startswith(("start", "stop"))]


async def test_another_image_than_the_revisions_is_told(world: World) -> None:
    name, (spec, instance) = next(iter(world.runtime.running.items()))
    other = {"app": Reference.parse(BETTER).digest}
    world.runtime.running[name] = (spec, replace(instance, images=other))
    await world.rollouts.reconcile(KEY)

    assert f"instance {name} runs app = sha256:" in (await drifted(world)).message
