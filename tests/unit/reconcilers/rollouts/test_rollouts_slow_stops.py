"""Instances that take their grace time to stop: nothing else of the machine waits for them."""

import asyncio

import pytest
from tests.support.rollouts.deployments import DeploymentUnderTest
from tests.support.rollouts.memory_machine import GOOD

from upwell.api.conditions import find
from upwell.reconcilers.rollouts.stops import PendingStops
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import State


async def let_stop(web: DeploymentUnderTest, name: str) -> None:
    web.setup.runtime.stubborn.pop(name).set()
    await asyncio.wait(web.setup.rollouts._execution.stops._tasks.values())


@pytest.fixture
async def web() -> DeploymentUnderTest:
    """Two replicas, of which the second is to go and does not."""
    web = await DeploymentUnderTest.served()
    await web.roll_out(GOOD, replicas=2)
    await web.pass_time(60)
    _, second = web.setup.runtime.names()
    web.setup.runtime.stubborn[second] = asyncio.Event()
    await web.apply(GOOD, replicas=1)
    await web.pass_time(3)
    assert second in web.setup.rollouts._execution.stops.names
    return web


async def test_another_that_ends_meanwhile_is_started_anew(web: DeploymentUnderTest) -> None:
    first, second = web.setup.runtime.names()
    web.setup.runtime.end(first, "container app exited 7: no space")
    await web.pass_time(1)

    degraded = find((await web.stored()).status.conditions, "Degraded")
    assert degraded is not None
    assert degraded.message.startswith("0 of 1 replicas of revision 1 are available")
    assert second not in web.setup.router.targets()

    await web.pass_time(30)
    states = {one.name: one.state for one in web.setup.runtime.observed()}
    assert states == {first: State.RUNNING, second: State.RUNNING}
    assert web.setup.router.targets() == {first}
    assert (await web.stored()).status.ready_replicas == 1


async def test_what_is_wanted_again_is_started_anew_when_it_is_gone(
    web: DeploymentUnderTest,
) -> None:
    first, second = web.setup.runtime.names()
    await web.apply(GOOD, replicas=2)
    await web.pass_time(5)
    assert web.setup.router.targets() == {first}

    await let_stop(web, second)
    await web.pass_time(10)

    assert web.setup.router.targets() == {first, second}
    assert web.setup.calls.count(f"run {second}") == 2
    assert not web.setup.failed_requests


async def test_a_deleted_workload_goes_when_its_instances_have(web: DeploymentUnderTest) -> None:
    _, second = web.setup.runtime.names()
    await web.setup.store.delete(type(await web.stored()), "shop", "web")
    await web.pass_time(40)
    assert web.setup.runtime.names() == [second]

    await let_stop(web, second)
    await web.setup.settle(web.key)

    assert web.setup.runtime.names() == []


async def test_a_stop_that_fails_later_is_told_once_and_begun_again() -> None:
    class _Runtime:
        def __init__(self) -> None:
            self.begun = 0
            self.fault = asyncio.Event()

        async def stop(self, _name: str, _grace: float) -> None:
            self.begun += 1
            await self.fault.wait()
            raise RuntimeUnavailableError("gone")

    runtime = _Runtime()
    stops = PendingStops(runtime)  # type: ignore[arg-type]
    async with stops.lifespan():
        assert await stops.stop(["one"], 300) == []
        assert stops.names == {"one"}
        assert await stops.stop(["one"], 300) == []
        assert runtime.begun == 1

        runtime.fault.set()
        await asyncio.wait(stops._tasks.values())
        [error] = await stops.stop(["one"], 300)
        assert str(error) == "gone"
        assert runtime.begun == 1

        runtime.fault.clear()
        assert await stops.stop(["one"], 300) == []
        assert runtime.begun == 2
    assert not stops.names
