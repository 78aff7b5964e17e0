"""The condition Degraded: fewer replicas are available than are wanted, and no rollout is why."""

from dataclasses import replace

import pytest
from tests.support.rollouts.deployments import DeploymentUnderTest
from tests.support.rollouts.memory_machine import BETTER, GOOD

from upwell.api.conditions import find
from upwell.workload.errors import ImagePullError
from upwell.workload.interface import State


@pytest.fixture
async def web() -> DeploymentUnderTest:
    return await DeploymentUnderTest.served()


async def degraded(web: DeploymentUnderTest) -> tuple[str, str, str]:
    found = find((await web.stored()).status.conditions, "Degraded")
    return ("", "", "") if found is None else (found.status, found.reason, found.message)


async def test_a_workload_that_is_whole_has_no_such_condition(web: DeploymentUnderTest) -> None:
    await web.roll_out(GOOD, replicas=2)

    assert await degraded(web) == ("", "", "")


async def test_a_replica_that_ended_degrades_until_it_has_stayed_up(
    web: DeploymentUnderTest,
) -> None:
    await web.roll_out(GOOD, replicas=2)
    await web.pass_time(60)
    web.setup.runtime.end(web.setup.runtime.names()[0], "container app exited 7: no space")
    await web.pass_time(1)

    status, reason, message = await degraded(web)
    assert (status, reason) == ("True", "ContainersNotReady")
    assert message == (
        "1 of 2 replicas of revision 1 are available: container app exited 7: no space"
    )
    await web.pass_time(5)
    assert (await degraded(web))[0] == "True"  # it runs again, but has not stayed up
    await web.pass_time(30)
    assert await degraded(web) == (
        "False",
        "AsExpected",
        "2 of 2 replicas of revision 1 are available",
    )


async def test_what_the_machine_loses_again_and_again_does_not_crash(
    web: DeploymentUnderTest,
) -> None:
    await web.roll_out(GOOD)
    web.setup.clock.advance(601)
    [name] = web.setup.runtime.names()
    for _ in range(2):
        web.setup.runtime.end(name)
        await web.pass_time(60)
    for _ in range(2):
        web.setup.runtime.lose(name)
        await web.pass_time(1)

    status, reason, message = await degraded(web)
    assert (status, reason) == ("True", "ContainersNotReady")
    assert message.endswith("how it ended is unknown")
    await web.pass_time(60)
    assert (await degraded(web))[:2] == ("False", "AsExpected")


async def test_a_sole_revision_that_crashes_again_and_again_says_so(
    web: DeploymentUnderTest,
) -> None:
    web.setup.runtime.lifetimes[GOOD] = 1
    await web.apply(GOOD)
    await web.pass_time(60)

    status, reason, message = await degraded(web)
    assert (status, reason) == ("True", "CrashLoopBackOff")
    assert message.startswith("0 of 1 replicas of revision 1 are available: container app exited 3")


async def test_a_crash_loop_that_lives_for_a_while_is_one_degradation(
    web: DeploymentUnderTest,
) -> None:
    await web.roll_out(GOOD)
    web.setup.clock.advance(601)
    web.setup.runtime.lifetimes[GOOD] = 8
    seen = set()
    for _ in range(60):
        await web.pass_time(1)
        seen.add((await degraded(web))[0])
    assert "False" not in seen
    found = find((await web.stored()).status.conditions, "Degraded")
    assert found is not None
    begun = found.last_transition_time
    await web.pass_time(120)
    found = find((await web.stored()).status.conditions, "Degraded")
    assert found is not None
    assert (found.status, found.last_transition_time) == ("True", begun)
    assert found.reason == "CrashLoopBackOff"


async def test_scaling_up_is_no_degradation_before_its_deadline(web: DeploymentUnderTest) -> None:
    await web.roll_out(GOOD)
    await web.pass_time(60)
    await web.apply(GOOD, replicas=2)

    await web.pass_time(20)

    assert await degraded(web) == ("", "", "")


async def test_a_rollout_under_way_is_none_and_takes_none_back(web: DeploymentUnderTest) -> None:
    await web.roll_out(GOOD)
    web.setup.clock.advance(601)
    web.setup.runtime.lifetimes[GOOD] = 1
    await web.pass_time(60)
    assert (await degraded(web))[0] == "True"
    web.setup.runtime.slow.add(BETTER)

    await web.apply(BETTER)
    await web.pass_time(30)
    assert (await degraded(web))[0] == "True"

    web.setup.runtime.slow.clear()
    await web.pass_time(30)
    assert (await degraded(web))[:2] == ("False", "AsExpected")


async def test_a_crash_that_is_rolled_back_degrades_until_the_good_one_serves(
    web: DeploymentUnderTest,
) -> None:
    await web.roll_out(GOOD)
    web.setup.runtime.lifetimes[BETTER] = 20
    await web.apply(BETTER)
    await web.pass_time(30)
    assert (await degraded(web))[0] == "True"

    await web.pass_time(90)

    assert web.setup.runtime.images() == [GOOD]
    assert await degraded(web) == (
        "False",
        "AsExpected",
        "1 of 1 replicas of revision 1 are available",
    )


async def test_what_the_machine_lost_degrades_but_is_no_crash_loop(
    web: DeploymentUnderTest,
) -> None:
    await web.roll_out(GOOD)
    await web.pass_time(30)
    (name,) = web.setup.runtime.names()
    spec, instance = web.setup.runtime.running[name]
    lost = replace(instance, state=State.LOST, ready=False, restarts=5, message="lost")
    web.setup.runtime.running[name] = (spec, lost)

    await web.setup.reconcile(web.key)

    assert (await degraded(web))[:2] == ("True", "ContainersNotReady")
    await web.pass_time(30)
    assert web.setup.runtime.images() == [GOOD]


async def test_an_image_that_cannot_be_pulled_any_more_is_named(web: DeploymentUnderTest) -> None:
    await web.roll_out(GOOD)
    web.setup.runtime.failures[GOOD] = ImagePullError("registry.test/app: unauthorized")
    web.setup.runtime.running.clear()

    await web.pass_time(2)

    assert await degraded(web) == (
        "True",
        "ImagePullBackOff",
        "0 of 1 replicas of revision 1 are available: registry.test/app: unauthorized",
    )
