"""Rollouts while a disk is nearly full: what runs goes on, what is new waits and says why."""

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    change,
    condition,
    deployment,
    rolled_out,
)

WHY = "/data has 3 MiB free of 100 MiB: free space"


@pytest.fixture
async def setup() -> RolloutSetup:
    made = RolloutSetup()
    await rolled_out(made)
    made.pressure = WHY
    return made


async def test_a_new_revision_waits_until_there_is_room(setup: RolloutSetup) -> None:
    await change(setup, deployment(BETTER))
    for _ in range(3):
        await setup.reconcile(KEY)
    progressing = await condition(setup, "Progressing")
    assert (progressing.reason, progressing.message) == ("DiskPressure", WHY)
    assert setup.runtime.images() == [GOOD]

    setup.pressure = ""
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]


async def test_what_has_run_before_is_put_back_at_once(setup: RolloutSetup) -> None:
    setup.pressure = ""
    await change(setup, deployment(BETTER))
    await setup.settle(KEY)
    setup.pressure = WHY

    await change(setup, deployment(GOOD))
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]


async def test_an_instance_that_ended_is_started_again(setup: RolloutSetup) -> None:
    (name,) = [one.name for one in await setup.runtime.instances()]
    setup.runtime.end(name)
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]
