"""Rollouts whose records were written under a clock that was ahead: they count as begun now."""

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    change,
    condition,
    deployment,
    rolled_out,
    stored,
)

DAY = 24 * 3600


@pytest.fixture
async def setup() -> RolloutSetup:
    made = RolloutSetup()
    await rolled_out(made)
    return made


async def test_the_deadline_of_a_rollout_that_began_tomorrow_passes(setup: RolloutSetup) -> None:
    setup.runtime.slow.add(BETTER)
    await change(setup, deployment(BETTER))
    for _ in range(4):
        await setup.reconcile(KEY)
        setup.runtime.turn()
    setup.clock.advance(-DAY)
    setup.restart()
    await setup.reconcile(KEY)
    revision = (await stored(setup)).status.revisions[0]
    assert revision.created <= setup.clock()

    await setup.settle(KEY)
    assert (await condition(setup, "Progressing")).reason == "ProgressDeadlineExceeded"
    assert setup.runtime.images() == [GOOD]
