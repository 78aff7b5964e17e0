"""Rollouts while an image is pulled: the workload goes on listening, and says what it waits for."""

import pytest
from tests.support.rollouts.memory_machine import BETTER, GOOD, World
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    change,
    condition,
    deployment,
    rolled_out,
    stored,
)

from upwell.workload.interface import ImagePullError, State

NEWER = GOOD.replace("/app@", "/other@")


@pytest.fixture
async def world() -> World:
    made = World()
    await rolled_out(made)
    made.runtime.slow.add(BETTER)
    return made


async def go_on(world: World) -> None:
    """Reconcile as often as something follows, while the clock stands still."""
    for _ in range(8):
        await world.reconcile(KEY)
        world.runtime.turn()


async def begin_pull(world: World) -> None:
    await change(world, deployment(BETTER))
    await go_on(world)


async def test_the_status_names_the_image_that_is_pulled(world: World) -> None:
    await begin_pull(world)
    progressing = await condition(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "ImagePulling")
    assert f"pulling image {BETTER}" in progressing.message
    assert GOOD in world.runtime.images(), "the old version stays"

    world.runtime.slow.clear()
    await world.settle(KEY)
    assert world.runtime.images() == [BETTER]
    assert (await condition(world, "Progressing")).reason == "NewReplicaSetAvailable"


async def test_a_newer_revision_does_not_wait_for_the_pull_of_an_older(world: World) -> None:
    await begin_pull(world)
    await change(world, deployment(NEWER))
    await world.settle(KEY)
    assert world.runtime.images() == [NEWER], "the pull was given up, and the new one serves"


async def test_scaling_and_a_pause_are_heard_during_a_pull(world: World) -> None:
    await begin_pull(world)
    await change(world, deployment(BETTER, paused=True))
    await go_on(world)
    assert (await condition(world, "Progressing")).reason == "DeploymentPaused"

    await change(world, deployment(BETTER, 0))
    await world.settle(KEY)
    assert world.runtime.names() == []


async def test_a_pull_that_outlasts_the_deadline_is_rolled_back_and_named(world: World) -> None:
    await begin_pull(world)
    await world.settle(KEY, limit=700)
    assert world.runtime.images() == [GOOD]
    message = (await condition(world, "RolledBack")).message
    assert message.count(f"pulling image {BETTER}") == 1


async def test_a_killed_server_pulls_anew(world: World) -> None:
    await begin_pull(world)
    [name] = [
        name for name, (_, one) in world.runtime.running.items() if one.state is State.PULLING
    ]
    del world.runtime.running[name]  # a pull ends with the process
    world.restart()
    await go_on(world)
    assert world.runtime.running[name][1].state is State.PULLING
    world.runtime.slow.clear()
    await world.settle(KEY)
    assert (await stored(world)).status.revisions[0].phase == "Complete"


async def test_a_pull_that_fails_is_tried_again_and_told(world: World) -> None:
    await begin_pull(world)
    world.runtime.slow.clear()
    world.runtime.failures[BETTER] = ImagePullError("registry.test answered 500", retry_after=4)
    await go_on(world)
    assert (await condition(world, "Progressing")).reason == "ImagePullFailed"
    world.runtime.failures.clear()
    await world.settle(KEY)
    assert world.runtime.images() == [BETTER]
