"""Rollouts while Podman's service is killed and stopped, and one container's storage is lost."""

import asyncio
import contextlib
import os
import signal

from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.podman_faults import lose_layer, service_of
from tests.support.workload.podman_home import PodmanHome
from tests.support.workload.waiting import eventually

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.runtime import PodmanRuntime

__all__ = ["podman_home", "real_rollouts"]  # fixtures


async def ready(runtime: PodmanRuntime) -> list[str]:
    with contextlib.suppress(RuntimeUnavailableError):
        return [one.name for one in await runtime.instances() if one.ready]
    return []


async def test_a_rollout_goes_through_while_the_service_is_killed_and_stopped(
    real_rollouts: RealRollouts,
) -> None:
    await real_rollouts.begin("one", replicas=2)
    async with real_rollouts.serve() as runtime:
        await real_rollouts.until_live(1)
        await real_rollouts.apply("two", replicas=2)
        for turn in range(8):
            if pid := service_of(real_rollouts.podman):
                os.kill(pid, signal.SIGKILL if turn % 4 else signal.SIGSTOP)
            await asyncio.sleep(0.3)  # the moments at which it is killed are not to be the same
        await real_rollouts.until_live(2)
        await eventually(lambda: ready(runtime), lambda seen: len(seen) == 2)


async def test_an_instance_whose_storage_is_lost_is_made_anew_and_the_other_serves_on(
    real_rollouts: RealRollouts, podman_home: PodmanHome
) -> None:
    await real_rollouts.begin("one", replicas=2)
    async with real_rollouts.serve() as runtime:
        await real_rollouts.until_live(1)
        lost, other = await eventually(lambda: ready(runtime), lambda seen: len(seen) == 2)
        before = {one.name: one.containers[0].id for one in await runtime.instances()}
        container = f"upwell-{real_rollouts.podman.instance_id}.{lost}.web"
        lose_layer(podman_home, container)
        podman_home.run("kill", container)

        async def containers() -> dict[str, str]:
            with contextlib.suppress(RuntimeUnavailableError):
                return {one.name: one.containers[0].id for one in await runtime.instances()}
            return {}

        seen = await eventually(containers, lambda now: now.get(lost, before[lost]) != before[lost])
        assert seen[other] == before[other]
        await eventually(lambda: ready(runtime), lambda seen: len(seen) == 2)
