"""DeploymentConfigs, StatefulSets and DaemonSets, and the controllers that run them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.rollouts.memory_machine import (
    BETTER,
    CRASHING,
    GOOD,
    TIMELINE,
    RolloutSetup,
)

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, StatefulSet
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Secret, Service
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache
from upwell.reconcilers import rollouts
from upwell.reconcilers.images.insecure import InsecureRegistries
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


async def change[R: Resource](setup: RolloutSetup, new: R) -> None:
    current = await setup.store.get(type(new), new.namespace, new.name)
    spec = new.spec  # type: ignore[attr-defined]
    await setup.store.update(current.model_copy(update={"spec": spec}))


async def stored[R: Resource](setup: RolloutSetup, kind: type[R]) -> R:
    return await setup.store.get(kind, "shop", "db")


async def test_a_deployment_config_counts_versions_and_says_why() -> None:
    setup = RolloutSetup()
    trigger = {"triggers": [{"type": "ConfigChange"}]}
    await setup.apply(workload(DeploymentConfig, GOOD, **trigger))
    await setup.settle(key("DeploymentConfig"))
    assert (await stored(setup, DeploymentConfig)).status.latest_version == 1

    await change(setup, workload(DeploymentConfig, BETTER, **trigger))
    await setup.settle(key("DeploymentConfig"))

    status = (await stored(setup, DeploymentConfig)).status
    assert status.latest_version == 2
    assert status.details == {"message": "image change", "causes": [{"type": "ImageChange"}]}
    assert setup.runtime.images() == [BETTER]


async def test_openshifts_own_label_selects_a_deployment_config() -> None:
    setup = RolloutSetup()
    await setup.apply(workload(DeploymentConfig, GOOD))
    service = {"selector": {"deploymentconfig": "db"}, "ports": [{"port": 80}]}
    await setup.apply(
        decode_as(Service, {"metadata": {"namespace": "shop", "name": "db"}, "spec": service})
    )
    await setup.settle(key("DeploymentConfig"))

    assert setup.router.targets() == set(setup.runtime.names())


async def test_a_deployment_config_without_triggers_waits_for_a_person() -> None:
    setup = RolloutSetup()
    manual = workload(DeploymentConfig, GOOD, triggers=[])
    created = await setup.apply(manual)
    await setup.settle(key("DeploymentConfig"))
    assert setup.runtime.names() == []
    condition = find((await stored(setup, DeploymentConfig)).status.conditions, "Progressing")
    assert condition is not None
    assert condition.reason == "ManualOnly"

    name, _, wanted = condition.message.rpartition(" ")[2].partition("=")
    created = await stored(setup, DeploymentConfig)
    await setup.store.update(created.with_metadata(annotations={name: wanted}))
    await setup.settle(key("DeploymentConfig"))

    assert setup.runtime.images() == [GOOD]


async def test_a_stateful_set_is_replaced_one_by_one() -> None:
    setup = RolloutSetup()
    await setup.apply(workload(StatefulSet, GOOD, replicas=3))
    await setup.settle(key("StatefulSet"))
    starts = [call[-1] for call in setup.calls if call.startswith("start")]
    assert starts == ["0", "1", "2"]
    setup.calls.clear()

    await change(setup, workload(StatefulSet, BETTER, replicas=3))
    await setup.settle(key("StatefulSet"))

    moves = [
        f"{call.split()[0]} {call[-1]}"
        for call in setup.calls
        if call.startswith(("start", "stop"))
    ]
    assert moves == ["stop 2", "start 2", "stop 1", "start 1", "stop 0", "start 0"]
    assert setup.runtime.images() == [BETTER] * 3


async def test_a_broken_stateful_set_loses_one_replica_only_and_gets_it_back() -> None:
    setup = RolloutSetup()
    await setup.apply(workload(StatefulSet, GOOD, replicas=3))
    await setup.settle(key("StatefulSet"))
    setup.calls.clear()

    await change(setup, workload(StatefulSet, CRASHING, replicas=3))
    await setup.settle(key("StatefulSet"))

    assert {call[-1] for call in setup.calls if call.startswith("stop")} == {"2"}
    assert setup.runtime.images() == [GOOD] * 3


async def test_a_daemon_set_runs_once() -> None:
    setup = RolloutSetup()
    await setup.apply(workload(DaemonSet, GOOD))
    await setup.settle(key("DaemonSet"))

    assert setup.runtime.images() == [GOOD]


@asynccontextmanager
async def running(setup: RolloutSetup) -> AsyncIterator[None]:
    """Run the controllers as the composition root does."""
    machine = rollouts.RolloutPorts(setup.runtime, setup.router, setup.traffic, timeline=TIMELINE)
    images = rollouts.TemplateImages(
        setup.registry,
        PullSecrets(setup.store),
        InsecureRegistries(setup.store),
    )
    cache = ObjectCache(setup.store)
    index, clock = WorkloadIndex(cache), setup.clock
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


async def until_it_waits(setup: RolloutSetup) -> None:
    async with asyncio.timeout(30):
        async for event in setup.store.watch(Deployment):
            condition = find(event.resource.status.conditions, "Progressing")
            if condition is not None and condition.reason == "SecretNotFound":
                return


async def until_running(setup: RolloutSetup, *images: str) -> None:
    async with asyncio.timeout(30):
        while setup.runtime.images() != list(images):
            setup.runtime.turn()
            await asyncio.sleep(0.005)  # the fake's time has to be turned


async def test_the_controllers_wake_for_secrets_and_stop_what_nobody_owns() -> None:
    setup = RolloutSetup()
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "api", "key": "t"}}}]
    async with running(setup):
        await setup.apply(workload(Deployment, GOOD, env=env))
        await until_it_waits(setup)
        assert setup.runtime.names() == []

        secret = Secret(data=Secret.encode_values({"t": b"1"}))
        await setup.apply(secret.with_metadata(namespace="shop", name="api"))
        await until_running(setup, GOOD)

        lost, _ = next(iter(setup.runtime.running.values()))
        await setup.runtime.start(
            type(lost)(
                name="upwell-shop-deploy-lost-00000000-0",
                owner=type(lost.owner)("Deployment", "shop", "lost"),
                revision="00000000",
                containers=lost.containers,
            )
        )
        await until_running(setup, GOOD)
