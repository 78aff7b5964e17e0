"""Pods that people make, over a store and a runtime in memory."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup
from tests.support.store.mortal_store import KilledError

from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.machine.disk import DiskPressureError
from upwell.policy.jobs.pods import FINALIZER
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.pods import PodReconciler
from upwell.reconcilers.rollouts import TemplateImages
from upwell.store.interface import NotFoundError
from upwell.workload.errors import RuntimeUnavailableError

KEY = ObjectKey("Pod", "shop", "task")


def pod(image: str = GOOD, **spec: Any) -> Pod:
    containers = [{"name": "app", "image": image}]
    metadata = {"namespace": "shop", "name": "task", "finalizers": [FINALIZER]}
    return decode_as(Pod, {"metadata": metadata, "spec": {"containers": containers, **spec}})


class Pods:
    """The reconciler over a machine; `restart` is another process."""

    def __init__(self) -> None:
        self.setup = RolloutSetup()
        self.restart()

    def restart(self) -> None:
        setup = self.setup
        images = TemplateImages(
            setup.registry, PullSecrets(setup.store), InsecureRegistries(setup.store)
        )
        self.pods = PodReconciler(setup.store, setup.machine, images, setup.clock)

    async def pass_by(self, seconds: float) -> None:
        end = self.setup.clock() + timedelta(seconds=seconds)
        while self.setup.clock() < end:
            with suppress(RuntimeUnavailableError):  # the queue tries it again
                await self.pods.reconcile(KEY)
            self.setup.runtime.turn()
            self.setup.clock.advance(1)

    async def one(self) -> Pod:
        return await self.setup.store.get(Pod, "shop", "task")

    @property
    def ran(self) -> int:
        return len(self.setup.runtime.ran)


@pytest.fixture
def pods() -> Pods:
    return Pods()


async def test_a_pod_is_run_once_and_its_end_is_kept(pods: Pods) -> None:
    await pods.setup.apply(pod(restartPolicy="Never"))
    await pods.pass_by(10)
    assert (await pods.one()).status.phase == "Succeeded"
    assert (await pods.one()).status.images == {"app": GOOD}
    (instance,) = await pods.setup.runtime.instances()
    assert instance.owner.kind == "Pod"

    pods.setup.runtime.running.clear()  # somebody has removed the container
    pods.restart()
    await pods.pass_by(60)
    assert ((await pods.one()).status.phase, pods.ran) == ("Succeeded", 1)


async def test_a_failure_is_final_where_the_policy_says_so(pods: Pods) -> None:
    pods.setup.runtime.exits["pod"] = [3]
    await pods.setup.apply(pod(restartPolicy="Never"))
    await pods.pass_by(120)
    status = (await pods.one()).status
    assert (status.phase, status.message, pods.ran) == ("Failed", "exited 3", 1)


async def test_a_failure_is_tried_again_later_and_later_until_it_is_good(pods: Pods) -> None:
    pods.setup.runtime.exits["pod"] = [1, 1, 0]
    await pods.setup.apply(pod(restartPolicy="OnFailure"))
    await pods.pass_by(9)
    waiting = (await pods.one()).status
    assert (waiting.phase, waiting.reason, pods.ran) == ("Running", "CrashLoopBackOff", 1)
    await pods.pass_by(60)
    assert ((await pods.one()).status.phase, pods.ran) == ("Succeeded", 3)


async def test_what_runs_always_is_started_again_whatever_its_end(pods: Pods) -> None:
    await pods.setup.apply(pod())
    await pods.pass_by(5)
    (instance,) = await pods.setup.runtime.instances()
    assert ((await pods.one()).status.phase, instance.role) == ("Running", "")
    pods.setup.runtime.end(instance.name, code=0)
    await pods.pass_by(15)
    assert ((await pods.one()).status.phase, pods.ran) == ("Running", 2)


async def test_what_the_machine_lost_runs_again_unless_it_may_run_once_alone(pods: Pods) -> None:
    pods.setup.runtime.lasting = {"pod", ""}
    await pods.setup.apply(pod(restartPolicy="Never"))
    await pods.pass_by(5)
    (instance,) = await pods.setup.runtime.instances()
    pods.setup.runtime.lose(instance.name)
    await pods.pass_by(30)
    status = (await pods.one()).status
    assert (status.phase, status.reason, pods.ran) == ("Failed", "ContainerStatusUnknown", 1)


async def test_what_is_lost_may_run_again(pods: Pods) -> None:
    await pods.setup.apply(pod())
    await pods.pass_by(5)
    (instance,) = await pods.setup.runtime.instances()
    pods.setup.runtime.lose(instance.name)
    await pods.pass_by(30)
    assert ((await pods.one()).status.phase, pods.ran) == ("Running", 2)


@pytest.mark.parametrize("kill_at", range(1, 5))
async def test_a_killed_server_runs_nothing_twice(pods: Pods, kill_at: int) -> None:
    await pods.setup.apply(pod(restartPolicy="Never"))
    pods.setup.kill_at = kill_at
    try:
        await pods.pass_by(20)
    except KilledError:
        pods.restart()
        await pods.pass_by(20)
    assert ((await pods.one()).status.phase, pods.ran) == ("Succeeded", 1)


async def test_a_deadline_ends_what_goes_on(pods: Pods) -> None:
    pods.setup.runtime.lasting = {"pod"}
    await pods.setup.apply(pod(restartPolicy="Never", activeDeadlineSeconds=20))
    await pods.pass_by(15)
    assert (await pods.one()).status.phase == "Running"
    await pods.pass_by(15)
    status = (await pods.one()).status
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert pods.setup.runtime.names() == []


async def test_a_deleted_pod_leaves_nothing_and_its_instance_goes_first(pods: Pods) -> None:
    await pods.setup.apply(pod())
    await pods.pass_by(5)
    await pods.setup.store.delete(Pod, "shop", "task")
    assert (await pods.one()).is_deleting
    await pods.pass_by(5)
    assert pods.setup.runtime.names() == []
    with pytest.raises(NotFoundError):
        await pods.one()


async def test_an_image_that_is_not_there_is_said(pods: Pods) -> None:
    await pods.setup.apply(pod(image="registry.example/none:1"))
    await pods.pods.reconcile(KEY)
    status = (await pods.one()).status
    assert (status.phase, status.reason) == ("Pending", "ImagePullBackOff")
    assert status.message


async def test_a_full_disk_keeps_what_is_new_from_starting(pods: Pods) -> None:
    pods.setup.pressure = "the disk is full"
    await pods.setup.apply(pod())
    with pytest.raises(DiskPressureError):
        await pods.pods.reconcile(KEY)
    status = (await pods.one()).status
    assert (status.reason, pods.ran) == (DiskPressureError.reason, 0)
