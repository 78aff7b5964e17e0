"""Rollouts while an image is pulled: the workload goes on listening, and says what it waits for."""

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

from upwell.api.conditions import find
from upwell.workload.errors import ImagePullError
from upwell.workload.interface import State

NEWER = GOOD.replace("/app@", "/other@")


@pytest.fixture
async def setup() -> RolloutSetup:
    made = RolloutSetup()
    await rolled_out(made)
    made.runtime.slow.add(BETTER)
    return made


async def go_on(setup: RolloutSetup) -> None:
    """Reconcile as often as something follows, while the clock stands still."""
    for _ in range(8):
        await setup.reconcile(KEY)
        setup.runtime.turn()


async def begin_pull(setup: RolloutSetup) -> None:
    await change(setup, deployment(BETTER))
    await go_on(setup)


async def test_the_status_names_the_image_that_is_pulled(setup: RolloutSetup) -> None:
    await begin_pull(setup)
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "ImagePulling")
    assert f"pulling image {BETTER}" in progressing.message
    assert GOOD in setup.runtime.images(), "the old version stays"

    setup.runtime.slow.clear()
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]
    assert (await condition(setup, "Progressing")).reason == "NewReplicaSetAvailable"


async def test_a_newer_revision_does_not_wait_for_the_pull_of_an_older(setup: RolloutSetup) -> None:
    await begin_pull(setup)
    await change(setup, deployment(NEWER))
    await setup.settle(KEY)
    assert setup.runtime.images() == [NEWER], "the pull was given up, and the new one serves"


async def test_scaling_and_a_pause_are_heard_during_a_pull(setup: RolloutSetup) -> None:
    await begin_pull(setup)
    await change(setup, deployment(BETTER, paused=True))
    await go_on(setup)
    assert (await condition(setup, "Progressing")).reason == "DeploymentPaused"

    await change(setup, deployment(BETTER, 0))
    await setup.settle(KEY)
    assert setup.runtime.names() == []


async def test_a_pull_that_outlasts_the_deadline_is_rolled_back_and_named(
    setup: RolloutSetup,
) -> None:
    await begin_pull(setup)
    await setup.settle(KEY, limit=700)
    assert setup.runtime.images() == [GOOD]
    message = (await condition(setup, "RolledBack")).message
    assert message.count(f"pulling image {BETTER}") == 1


async def test_a_killed_server_pulls_anew(setup: RolloutSetup) -> None:
    await begin_pull(setup)
    [name] = [
        name for name, (_, one) in setup.runtime.running.items() if one.state is State.PULLING
    ]
    del setup.runtime.running[name]  # a pull ends with the process
    setup.restart()
    await go_on(setup)
    assert setup.runtime.running[name][1].state is State.PULLING
    setup.runtime.slow.clear()
    await setup.settle(KEY)
    assert (await stored(setup)).status.revisions[0].phase == "Complete"


async def test_a_pull_that_fails_is_tried_again_and_told(setup: RolloutSetup) -> None:
    await begin_pull(setup)
    setup.runtime.slow.clear()
    setup.runtime.failures[BETTER] = ImagePullError("registry.test answered 500", retry_after=4)
    await go_on(setup)
    assert (await condition(setup, "Progressing")).reason == "ImagePullFailed"
    assert (await condition(setup, "ImagesAvailable")).reason == "ImagePullFailed"
    setup.runtime.failures.clear()
    await setup.settle(KEY)
    assert find((await stored(setup)).status.conditions, "ImagesAvailable") is None
    assert setup.runtime.images() == [BETTER]
