"""Drift, changes by hand: seen, shown, and mended or left alone."""

from dataclasses import replace

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import KEY, deployment

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.api.meta import Condition
from upwell.oci import Reference


async def drifted(setup: RolloutSetup) -> Condition:
    stored = await setup.store.get(Deployment, "shop", "web")
    found = find(stored.status.conditions, "Drifted")
    assert found is not None
    return found


@pytest.fixture
async def setup() -> RolloutSetup:
    setup = RolloutSetup()
    await setup.apply(deployment(GOOD, replicas=2))
    await setup.settle(KEY)
    return setup


def make_foreign(setup: RolloutSetup) -> str:
    name, (spec, instance) = next(iter(setup.runtime.running.items()))
    setup.runtime.running[name] = (spec, replace(instance, foreign=True))
    return name


async def test_what_was_made_by_hand_is_replaced(setup: RolloutSetup) -> None:
    name = make_foreign(setup)
    await setup.reconcile(KEY)
    told = await drifted(setup)
    assert (told.status, told.reason) == ("True", "ChangedByHand")
    assert f"instance {name} was made by hand; mended" in told.message

    await setup.settle(KEY)
    assert (await drifted(setup)).status == "False"
    assert len(setup.runtime.names()) == 2
    assert not any(one.foreign for one in await setup.runtime.instances())


async def test_it_is_left_alone_where_it_is_only_reported(setup: RolloutSetup) -> None:
    current = await setup.store.get(Deployment, "shop", "web")
    annotations = {"upwell.dev/drift": "report"}
    await setup.store.update(current.with_metadata(annotations=annotations))
    await setup.settle(KEY)
    setup.calls.clear()
    make_foreign(setup)
    await setup.settle(KEY)

    assert "reported only" in (await drifted(setup)).message
    assert not [call for call in setup.calls if call.startswith(("start", "stop"))]


@pytest.mark.parametrize("annotation", ["mend", "report"])
async def test_what_runs_from_a_moved_data_folder_is_replaced(
    setup: RolloutSetup, annotation: str
) -> None:
    current = await setup.store.get(Deployment, "shop", "web")
    annotations = {"upwell.dev/drift": annotation}
    await setup.store.update(current.with_metadata(annotations=annotations))
    await setup.settle(KEY)
    for name, (spec, instance) in list(setup.runtime.running.items()):
        setup.runtime.running[name] = (spec, replace(instance, moved=True))
    await setup.settle(KEY)

    assert [one.moved for one in await setup.runtime.instances()] == [False, False]
    assert (await drifted(setup)).status == "False"  # nobody changed anything by hand
    assert setup.failed_requests == []


async def test_another_image_than_the_revisions_is_told(setup: RolloutSetup) -> None:
    name, (spec, instance) = next(iter(setup.runtime.running.items()))
    other = {"app": Reference.parse(BETTER).digest}
    setup.runtime.running[name] = (spec, replace(instance, images=other))
    await setup.rollouts.reconcile(KEY)

    assert f"instance {name} runs app = sha256:" in (await drifted(setup)).message
