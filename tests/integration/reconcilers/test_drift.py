"""Containers that a person stopped, replaced or started by hand, beside what was rolled out."""

from collections.abc import Sequence

import pytest
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.podman_home import PodmanHome
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.conditions import find
from upwell.api.meta import Condition
from upwell.workload.interface import Instance, Runtime

__all__ = ["podman_home", "real_rollouts"]  # fixtures


async def drifted(real_rollouts: RealRollouts) -> Condition:
    found = find((await real_rollouts.deployment()).status.conditions, "Drifted")
    assert found is not None
    return found


async def only(runtime: Runtime) -> Sequence[Instance]:
    return await runtime.instances()


def container(home: PodmanHome, real_rollouts: RealRollouts) -> str:
    [name] = home.run(
        "ps", "-q", "--filter", f"label=upwell.dev/instance={name_of(real_rollouts)}"
    ).split()
    return name


def name_of(real_rollouts: RealRollouts) -> str:
    return real_rollouts.podman.instance_id


def labels(real_rollouts: RealRollouts, instance: Instance, name: str) -> list[str]:
    values = {
        "instance": name_of(real_rollouts),
        "replica": name,
        "container": "web",
        "owner-kind": "Deployment",
        "owner-namespace": "shop",
        "owner-name": "web",
        "revision": instance.revision,
    }
    return [f"--label=upwell.dev/{key}={value}" for key, value in values.items()]


def run(home: PodmanHome, real_rollouts: RealRollouts, instance: Instance, name: str) -> None:
    sleep = ("/bin/busybox", "sleep", "600")
    home.run("run", "-d", *labels(real_rollouts, instance, name), "localhost/web:latest", *sleep)


async def test_what_was_stopped_by_hand_is_seen_and_started_again(
    real_rollouts: RealRollouts, podman_home: PodmanHome
) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        assert (await drifted(real_rollouts)).status == "False"
        podman_home.run("kill", container(podman_home, real_rollouts))

        told = await eventually(lambda: drifted(real_rollouts), lambda one: one.status == "True")
        assert "was stopped by hand" in told.message
        await eventually(lambda: only(runtime), lambda found: any(one.ready for one in found))
        await eventually(lambda: drifted(real_rollouts), lambda one: one.status == "False")


@pytest.mark.parametrize("mends", [True, False], ids=["mend", "report"])
async def test_a_container_that_carries_our_labels_is_not_taken_for_ours(
    real_rollouts: RealRollouts, podman_home: PodmanHome, *, mends: bool
) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        if not mends:
            report = {"upwell.dev/drift": "report"}
            await real_rollouts.change(
                Deployment, "web", lambda now: now.with_metadata(annotations=report)
            )
        [instance] = await runtime.instances()
        run(podman_home, real_rollouts, instance, f"{instance.name[:-1]}7")

        told = await eventually(lambda: drifted(real_rollouts), lambda one: one.status == "True")
        assert f"{instance.name[:-1]}7 was made by hand" in told.message
        assert ("mended" if mends else "reported only") in told.message
        if mends:
            await eventually(lambda: only(runtime), lambda found: len(found) == 1)
            await eventually(lambda: drifted(real_rollouts), lambda one: one.status == "False")
        else:
            assert len(await runtime.instances()) == 2


async def test_a_container_that_was_replaced_is_replaced_by_ours(
    real_rollouts: RealRollouts, podman_home: PodmanHome
) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.begin("one")
        await real_rollouts.until_live(1)
        [instance] = await runtime.instances()
        podman_home.run("rm", "--force", "--time=0", container(podman_home, real_rollouts))
        run(podman_home, real_rollouts, instance, instance.name)

        def is_ours(found: Sequence[Instance]) -> bool:
            return len(found) == 1 and found[0].ready and not found[0].foreign

        await eventually(lambda: only(runtime), is_ours)
        await eventually(lambda: drifted(real_rollouts), lambda one: one.status == "False")
