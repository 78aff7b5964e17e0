"""DeploymentConfigs, StatefulSets and DaemonSets, and the controllers that run them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.rollouts.memory_machine import BETTER, CRASHING, GOOD, World

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Secret, Service
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache
from upwell.reconcilers import rollouts
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.routing.reconciler import routing_controller


def workload[R: Resource](kind: type[R], image: str, *, env: object = (), **spec: Any) -> R:
    container = {"name": "app", "image": image, "env": list(env)}  # type: ignore[call-overload]
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    return decode_as(
        kind,
        {
            "metadata": {"namespace": "shop", "name": "db"},
            "spec": {"template": template, **spec},
        },
    )


def key(kind: str) -> ObjectKey:
    return ObjectKey(kind, "shop", "db")


async def change[R: Resource](world: World, new: R) -> None:
    current = await world.store.get(type(new), new.namespace, new.name)
    spec = new.spec  # type: ignore[attr-defined]
    await world.store.update(current.model_copy(update={"spec": spec}))


async def stored[R: Resource](world: World, kind: type[R]) -> R:
    return await world.store.get(kind, "shop", "db")


async def test_a_deployment_config_counts_versions_and_says_why() -> None:
    world = World()
    trigger = {"triggers": [{"type": "ConfigChange"}]}
    await world.apply(workload(DeploymentConfig, GOOD, **trigger))
    await world.settle(key("DeploymentConfig"))
    assert (await stored(world, DeploymentConfig)).status.latest_version == 1

    await change(world, workload(DeploymentConfig, BETTER, **trigger))
    await world.settle(key("DeploymentConfig"))

    status = (await stored(world, DeploymentConfig)).status
    assert status.latest_version == 2
    assert status.details == {"message": "image change", "causes": [{"type": "ImageChange"}]}
    assert world.runtime.images() == [BETTER]


async def test_openshifts_own_label_selects_a_deployment_config() -> None:
    world = World()
    await world.apply(workload(DeploymentConfig, GOOD))
    service = {"selector": {"deploymentconfig": "db"}, "ports": [{"port": 80}]}
    await world.apply(
        decode_as(Service, {"metadata": {"namespace": "shop", "name": "db"}, "spec": service})
    )
    await world.settle(key("DeploymentConfig"))

    assert world.router.targets() == set(world.runtime.names())


async def test_a_deployment_config_without_triggers_waits_for_a_person() -> None:
    world = World()
    manual = workload(DeploymentConfig, GOOD, triggers=[])
    created = await world.apply(manual)
    await world.settle(key("DeploymentConfig"))
    assert world.runtime.names() == []
    condition = find((await stored(world, DeploymentConfig)).status.conditions, "Progressing")
    assert condition is not None
    assert condition.reason == "ManualOnly"

    name, _, wanted = condition.message.rpartition(" ")[2].partition("=")
    created = await stored(world, DeploymentConfig)
    await world.store.update(created.with_metadata(annotations={name: wanted}))
    await world.settle(key("DeploymentConfig"))

    assert world.runtime.images() == [GOOD]


async def test_a_stateful_set_is_replaced_one_by_one() -> None:
    world = World()
    await world.apply(workload(StatefulSet, GOOD, replicas=3))
    await world.settle(key("StatefulSet"))
    starts = [call[-1] for call in world.calls if call.startswith("start")]
    assert starts == ["0", "1", "2"]
    world.calls.clear()

    await change(world, workload(StatefulSet, BETTER, replicas=3))
    await world.settle(key("StatefulSet"))

    moves = [
        f"{call.split()[0]} {call[-1]}"
        for call in world.calls
        if call.startswith(("start", "stop"))
    ]
    assert moves == ["stop 2", "start 2", "stop 1", "start 1", "stop 0", "start 0"]
    assert world.runtime.images() == [BETTER] * 3


async def test_a_broken_stateful_set_loses_one_replica_only_and_gets_it_back() -> None:
    world = World()
    await world.apply(workload(StatefulSet, GOOD, replicas=3))
    await world.settle(key("StatefulSet"))
    world.calls.clear()

    await change(world, workload(StatefulSet, CRASHING, replicas=3))
    await world.settle(key("StatefulSet"))

    assert {call[-1] for call in world.calls if call.startswith("stop")} == {"2"}
    assert world.runtime.images() == [GOOD] * 3


async def test_a_daemon_set_runs_once() -> None:
    world = World()
    await world.apply(workload(DaemonSet, GOOD))
    await world.settle(key("DaemonSet"))

    assert world.runtime.images() == [GOOD]


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    """Run the controllers as the composition root does."""
    machine = rollouts.RolloutPorts(world.runtime, world.router, world.traffic)
    images = rollouts.TemplateImages(
        world.registry,  # type: ignore[arg-type]  # rollouts only resolve
        PullSecrets(world.store),
    )
    cache = ObjectCache(world.store)
    index, clock = WorkloadIndex(cache), world.clock
    parts = (
        cache,
        rollouts.rollout_controller(index, machine, images, clock, orphans_period=0.01),
        routing_controller(cache, machine, clock),
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.run()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def until_it_waits(world: World) -> None:
    async with asyncio.timeout(30):
        async for event in world.store.watch(Deployment):
            condition = find(event.resource.status.conditions, "Progressing")
            if condition is not None and condition.reason == "SecretNotFound":
                return


async def until_running(world: World, *images: str) -> None:
    async with asyncio.timeout(30):
        while world.runtime.images() != list(images):
            world.runtime.turn()
            await asyncio.sleep(0.005)  # the fake's time has to be turned


async def test_the_controllers_wake_for_secrets_and_stop_what_nobody_owns() -> None:
    world = World()
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "api", "key": "t"}}}]
    async with running(world):
        await world.apply(workload(Deployment, GOOD, env=env))
        await until_it_waits(world)
        assert world.runtime.names() == []

        secret = Secret(data=Secret.encode_values({"t": b"1"}))
        await world.apply(secret.with_metadata(namespace="shop", name="api"))
        await until_running(world, GOOD)

        lost, _ = next(iter(world.runtime.running.values()))
        await world.runtime.start(
            type(lost)(
                name="upwell-shop-deploy-lost-00000000-0",
                owner=type(lost.owner)("Deployment", "shop", "lost"),
                revision="00000000",
                containers=lost.containers,
            )
        )
        await until_running(world, GOOD)
