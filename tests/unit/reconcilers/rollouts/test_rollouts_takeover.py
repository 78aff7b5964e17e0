"""Workloads that take the place of a container: held until it has stopped."""

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    condition,
    deployment,
    stored,
)

from upwell.api.apps import Deployment
from upwell.policy.rollouts.starts.takeover import START_ANNOTATION


def taking_over(start: str) -> Deployment:
    return deployment(GOOD).with_metadata(annotations={START_ANNOTATION: start})


@pytest.fixture
async def setup() -> RolloutSetup:
    made = RolloutSetup()
    made.runtime.slow.add(GOOD)
    await made.apply(taking_over("held"))
    await made.settle(KEY)
    return made


async def test_its_images_are_pulled_and_nothing_starts(setup: RolloutSetup) -> None:
    assert (await condition(setup, "Progressing")).reason == "ImagePulling"
    setup.runtime.slow.clear()
    await setup.settle(KEY)
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "HeldForTakeover")
    assert setup.runtime.names() == []


async def test_it_has_its_whole_time_to_get_ready_once_it_may_start(setup: RolloutSetup) -> None:
    setup.runtime.slow.clear()
    setup.clock.advance(3600)
    await setup.settle(KEY)
    assert (await condition(setup, "Progressing")).reason == "HeldForTakeover"

    now = await stored(setup)
    start = {START_ANNOTATION: setup.clock().isoformat()}
    await setup.store.update(now.with_metadata(annotations=start))
    for _ in range(4):
        await setup.reconcile(KEY)
    assert setup.runtime.images() == [GOOD]
    assert (await stored(setup)).status.revisions[0].phase != "Failed"

    setup.clock.advance(601)
    await setup.reconcile(KEY)
    assert (await stored(setup)).status.revisions[0].phase == "Failed"
