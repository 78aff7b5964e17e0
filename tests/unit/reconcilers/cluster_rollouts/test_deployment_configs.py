"""DeploymentConfigs of a cluster: revisions as ReplicationControllers, hooks as Pods."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.clocks import ManualTime
from tests.support.cluster.memory_cluster import MemoryClusterPods, MemoryInstances, MemoryWorkloads
from tests.support.cluster.replication import PlayedReplication
from tests.support.kubernetes.refusals import answered
from tests.support.store.mortal_store import KilledError, MortalStore

from upwell.actions.rollouts import RolloutActions
from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.api.revisions import ReplicationController
from upwell.cluster.interface import OwnedPod
from upwell.controller import ObjectCache
from upwell.reconcilers.cluster_rollouts.deployment_configs import ClusterDeploymentConfigs
from upwell.reconcilers.cluster_rollouts.image_policies import NO_POLICIES
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.store.interface import Selector
from upwell.workload.instance_spec import Owner

NAMESPACE = "shop"
KEY = ObjectKey("DeploymentConfig", NAMESPACE, "web")
START = datetime(2026, 5, 1, tzinfo=UTC)


def config(image: str = "app:1", **spec: Any) -> DeploymentConfig:
    container = {"name": "app", "image": image, "readinessProbe": {"tcpSocket": {"port": 80}}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    declared = {"replicas": 3, "selector": {"app": "web"}, "template": template, **spec}
    metadata = {"name": "web", "namespace": NAMESPACE}
    return decode_as(DeploymentConfig, {"metadata": metadata, "spec": declared})


def hook(policy: str = "Abort", **more: Any) -> dict[str, Any]:
    return {"failurePolicy": policy, "execNewPod": {"command": ["/migrate"]}, **more}


class ConfigSetup:
    """A cluster in memory, with one DeploymentConfig."""

    def __init__(self) -> None:
        self.clock = ManualTime(START)
        self.store = MortalStore(self.clock)
        self.instances = MemoryInstances()
        self.policies = NO_POLICIES
        self.played = PlayedReplication(self.store, self.instances, NAMESPACE)
        self.lead()

    def lead(self) -> None:
        """Begin as a new leader, which knows what is stored and what runs."""
        self.store.lives = None
        self.cache = ObjectCache(self.store)
        pods = {"": PodIndex(MemoryClusterPods())}
        cluster = ClusterParts(MemoryWorkloads(self.store), pods, policies=self.policies)
        self.configs = ClusterDeploymentConfigs(self.cache, cluster, self.instances, self.clock)

    async def reconcile(self) -> None:
        await self.cache.ready(ReplicationController)
        await self.configs.reconcile(KEY)
        await self.cache.ready(ReplicationController)
        await self._show_hooks()

    async def roll(self, limit: int = 40) -> DeploymentConfig:
        """Let the cluster and the reconciler go on until neither does anything."""
        for _ in range(limit):
            before = [one.resource_version for one in [await self.read(), *await self.all()]]
            await self.reconcile()
            moved = await self.played.step(self.clock.now)
            self.clock.now += timedelta(seconds=1)
            after = [one.resource_version for one in [await self.read(), *await self.all()]]
            if not moved and before == after:
                break
        return await self.read()

    async def roll_killed(self, lives: int) -> None:
        """Go on until the leader is killed before its next write but so many; another follows."""
        self.store.lives = lives
        with suppress(KilledError):
            await self.roll()
        self.lead()
        await self.roll()

    async def read(self) -> DeploymentConfig:
        return await self.store.get(DeploymentConfig, NAMESPACE, "web")

    async def all(self) -> list[ReplicationController]:
        return list((await self.store.list(ReplicationController, Selector(NAMESPACE))).items)

    async def sizes(self) -> dict[str, int]:
        return {one.name: one.spec.replicas for one in await self.all()}

    async def change(self, declared: DeploymentConfig) -> None:
        stored = await self.read()
        await self.store.update(stored.model_copy(update={"spec": declared.spec}))

    async def hooks(self) -> list[Pod]:
        return list((await self.store.list(Pod, Selector(NAMESPACE))).items)

    async def end_hook(self, phase: str, code: int = 0) -> None:
        """Let the Pod of the hook that runs end."""
        [pod] = await self.hooks()
        ended = {"terminated": {"exitCode": code, "reason": "Error", "message": "no database"}}
        status = {"phase": phase, "containerStatuses": [{"name": "lifecycle", "state": ended}]}
        made = decode_as(Pod, {"metadata": {"name": "x"}, "status": status})
        await self.store.update_status(pod.with_status(made.status))
        await self._show_hooks()

    async def _show_hooks(self) -> None:
        others = [one for one in self.instances.shown if one.owner.kind != "Hook"]
        hooks = [OwnedPod(one, Owner("Hook", NAMESPACE, "web")) for one in await self.hooks()]
        self.instances.shown = [*others, *hooks]


@pytest.fixture
def setup() -> ConfigSetup:
    return ConfigSetup()


def reason(found: DeploymentConfig) -> str:
    condition = find(found.status.conditions, "Progressing")
    return condition.reason if condition is not None else ""


async def test_a_revision_is_a_replication_controller_as_openshift_names_it(
    setup: ConfigSetup,
) -> None:
    stored = await setup.store.create(config())

    found = await setup.roll()

    [controller] = await setup.all()
    assert controller.name == "web-1"
    assert controller.spec.replicas == 3
    assert controller.metadata.owner_references[0].uid == stored.uid
    assert controller.annotations["openshift.io/deployment.phase"] == "Complete"
    assert controller.spec.selector == {
        "app": "web",
        "deployment": "web-1",
        "deploymentconfig": "web",
    }
    assert found.status.latest_version == 1
    assert reason(found) == "NewReplicationControllerAvailable"


async def test_a_change_rolls_with_as_many_pods_as_the_bounds_allow(setup: ConfigSetup) -> None:
    bounds = {"type": "Rolling", "rollingParams": {"maxSurge": 1, "maxUnavailable": 0}}
    await setup.store.create(config(strategy=bounds))
    await setup.roll()
    setup.played.watch()

    await setup.change(config("app:2", strategy=bounds))
    found = await setup.roll()

    assert await setup.sizes() == {"web-1": 0, "web-2": 3}
    assert (setup.played.lowest, setup.played.most) == (3, 4)
    assert found.status.details == {
        "message": "image change",
        "causes": [{"type": "ImageChange"}],
    }


async def test_recreate_stops_all_before_it_starts_any(setup: ConfigSetup) -> None:
    recreate = {"type": "Recreate", "recreateParams": {"mid": hook()}}
    await setup.store.create(config(strategy=recreate))
    await setup.roll()
    await setup.end_hook("Succeeded")
    await setup.roll()
    assert await setup.sizes() == {"web-1": 3}

    await setup.change(config("app:2", strategy=recreate))
    await setup.roll()
    assert await setup.sizes() == {"web-1": 0, "web-2": 0}
    [pod] = await setup.hooks()
    assert pod.name == "web-2-hook-mid"
    assert pod.spec.containers[0].image == "app:2"

    await setup.end_hook("Succeeded")
    await setup.roll()
    assert await setup.sizes() == {"web-1": 0, "web-2": 3}
    assert await setup.hooks() == []


@pytest.mark.parametrize("lives", range(10))
async def test_a_leader_that_is_killed_in_mid_rollout_leaves_nothing_undone_or_done_twice(
    setup: ConfigSetup, lives: int
) -> None:
    await setup.store.create(config())
    await setup.roll()
    setup.played.watch()
    strategy = {"type": "Rolling", "rollingParams": {"pre": hook()}}
    await setup.change(config("app:2", strategy=strategy))

    await setup.roll_killed(lives)
    [pod] = await setup.hooks()
    await setup.roll_killed(lives)
    assert [one.uid for one in await setup.hooks()] == [pod.uid], "the hook runs once"
    await setup.end_hook("Succeeded")
    await setup.roll_killed(lives)

    assert await setup.sizes() == {"web-1": 0, "web-2": 3}
    assert await setup.hooks() == []
    assert setup.played.lowest == 3
    found = await setup.read()
    assert found.status.latest_version == 2
    assert found.status.revisions[0].phase == "Complete"
    assert found.status.revisions[0].hooks["pre"].phase == "Complete"


@pytest.mark.parametrize("image", ["app:bad", "app:slow"])
async def test_what_fails_gives_way_to_what_served(setup: ConfigSetup, image: str) -> None:
    await setup.store.create(config())
    await setup.roll()
    setup.played.watch()

    await setup.change(config(image))
    await setup.roll()
    setup.clock.now += timedelta(seconds=700)
    found = await setup.roll()

    assert await setup.sizes() == {"web-1": 3, "web-2": 0}
    assert setup.played.lowest == 3  # 25 % of three, rounded down, may be away: none
    rolled_back = find(found.status.conditions, "RolledBack")
    assert rolled_back is not None
    assert "web" not in rolled_back.reason
    assert (await setup.all())[1].annotations["openshift.io/deployment.phase"] == "Failed"


async def test_a_hook_that_fails_ends_the_rollout_before_anything_changes(
    setup: ConfigSetup,
) -> None:
    await setup.store.create(config())
    await setup.roll()
    strategy = {"type": "Rolling", "rollingParams": {"pre": hook()}}
    await setup.change(config("app:2", strategy=strategy))
    await setup.roll()
    assert reason(await setup.read()) == "HookRunning"

    await setup.end_hook("Failed", 1)
    found = await setup.roll()

    assert await setup.sizes() == {"web-1": 3, "web-2": 0}
    condition = find(found.status.conditions, "RolledBack")
    assert condition is not None
    assert "no database" in condition.message


async def test_a_hook_may_fail_where_it_is_ignored(setup: ConfigSetup) -> None:
    strategy = {"type": "Rolling", "rollingParams": {"pre": hook("Ignore")}}
    await setup.store.create(config(strategy=strategy))
    await setup.roll()
    await setup.end_hook("Failed", 1)

    await setup.roll()

    assert await setup.sizes() == {"web-1": 3}


async def test_a_hook_that_is_retried_is_so_by_its_node(setup: ConfigSetup) -> None:
    strategy = {"type": "Rolling", "rollingParams": {"post": hook("Retry")}}
    await setup.store.create(config(strategy=strategy))

    await setup.roll()

    [pod] = await setup.hooks()
    assert pod.spec.restart_policy == "OnFailure"
    assert reason(await setup.read()) == "HookRunning"


async def test_a_hook_gives_the_image_of_the_rollout_a_tag(setup: ConfigSetup) -> None:
    tags = [{"containerName": "app", "to": {"kind": "ImageStreamTag", "name": "app:deployed"}}]
    post = {"failurePolicy": "Abort", "tagImages": tags}
    await setup.store.create(config(strategy={"type": "Rolling", "rollingParams": {"post": post}}))

    await setup.roll()

    [stream] = (await setup.store.list(ImageStream, Selector(NAMESPACE))).items
    [tag] = stream.spec.tags
    assert (tag.name, tag.from_.name if tag.from_ else "") == ("deployed", "app:1")


async def test_nothing_is_made_of_one_that_is_paused_until_it_is_not(setup: ConfigSetup) -> None:
    await setup.store.create(config(paused=True))
    await setup.roll()
    assert await setup.all() == []

    await setup.change(config())
    await setup.roll()

    assert await setup.sizes() == {"web-1": 3}


async def test_manual_ones_wait_for_somebody(setup: ConfigSetup) -> None:
    await setup.store.create(config(triggers=[]))
    await setup.roll()
    assert await setup.all() == []

    actions = RolloutActions(setup.store, setup.clock)
    await actions.latest(DeploymentConfig, NAMESPACE, "web", again=False)
    await setup.roll()

    assert await setup.sizes() == {"web-1": 3}


async def test_a_rollout_is_cancelled_and_retried(setup: ConfigSetup) -> None:
    await setup.store.create(config())
    await setup.roll()
    await setup.change(config("app:slow"))
    await setup.roll()
    actions = RolloutActions(setup.store, setup.clock)

    await actions.cancel(DeploymentConfig, NAMESPACE, "web")
    await setup.roll()
    assert await setup.sizes() == {"web-1": 3, "web-2": 0}

    await actions.retry(DeploymentConfig, NAMESPACE, "web")
    await setup.roll()
    assert (await setup.sizes())["web-2"] == 1


async def test_a_size_that_somebody_changes_is_put_right(setup: ConfigSetup) -> None:
    await setup.store.create(config())
    await setup.roll()
    [controller] = await setup.all()
    spec = controller.spec.model_copy(update={"replicas": 5})
    await setup.store.update(controller.model_copy(update={"spec": spec}))
    await setup.played.step(setup.clock.now)

    await setup.roll()

    assert await setup.sizes() == {"web-1": 3}


async def test_a_test_runs_nothing_after_it(setup: ConfigSetup) -> None:
    await setup.store.create(config(test=True))

    await setup.roll()

    assert await setup.sizes() == {"web-1": 0}


async def test_old_revisions_go_with_their_controllers(setup: ConfigSetup) -> None:
    await setup.store.create(config(revisionHistoryLimit=1))
    for number in range(2, 5):
        await setup.roll()
        await setup.change(config(f"app:{number}", revisionHistoryLimit=1))
    await setup.roll()

    assert await setup.sizes() == {"web-3": 0, "web-4": 3}


async def test_a_controller_of_somebody_else_is_left_alone(setup: ConfigSetup) -> None:
    foreign = decode_as(
        ReplicationController, {"metadata": {"name": "web-1", "namespace": NAMESPACE}}
    )
    await setup.store.create(foreign)
    await setup.store.create(config())

    found = await setup.roll()

    assert await setup.sizes() == {"web-1": 0}
    assert reason(found) == "AlreadyExists"


async def test_a_webhook_that_is_away_is_told(setup: ConfigSetup) -> None:
    await setup.store.create(config())
    await setup.reconcile()
    faults = [answered(500, 'failed calling webhook "images": connection refused')]

    def refuse_once() -> None:
        if faults:
            raise faults.pop()

    setup.store.before_write = refuse_once
    await setup.reconcile()

    condition = find((await setup.read()).status.conditions, "Progressing")
    assert condition is not None
    assert 'failed calling webhook "images": connection refused' in condition.message
    assert reason(await setup.roll()) == "NewReplicationControllerAvailable"


async def test_what_is_refused_is_tried_again_soon_and_then_ever_later(setup: ConfigSetup) -> None:
    await setup.store.create(config())
    await setup.reconcile()
    foreign = {"metadata": {"name": "web-1", "namespace": NAMESPACE}}
    await setup.store.create(decode_as(ReplicationController, foreign))

    waits = [(await setup.configs.reconcile(KEY)).requeue_after or 0 for _ in range(3)]

    assert 5 <= waits[0] <= 10 <= waits[1] <= 20 <= waits[2] <= 40
    await setup.store.delete(ReplicationController, NAMESPACE, "web-1")
    assert reason(await setup.roll()) == "NewReplicationControllerAvailable"
    await setup.change(config("app:2"))
    await setup.reconcile()
    foreign["metadata"]["name"] = "web-2"
    await setup.store.create(decode_as(ReplicationController, foreign))
    assert 5 <= ((await setup.configs.reconcile(KEY)).requeue_after or 0) <= 10


@pytest.mark.parametrize("kind", ["Custom", "Rolling"])  # of any type, the command steers it
async def test_custom_strategies_are_refused_with_what_to_do(setup: ConfigSetup, kind: str) -> None:
    custom = {"type": kind, "customParams": {"command": ["/deploy"]}}
    await setup.store.create(config(strategy=custom))

    found = await setup.roll()

    assert await setup.all() == []
    condition = find(found.status.conditions, "Progressing")
    assert condition is not None
    assert "use Rolling or Recreate" in condition.message


async def test_a_hook_that_no_schema_could_refuse_is_told(setup: ConfigSetup) -> None:
    await setup.store.create(config())
    await setup.roll()
    nonsense = {"type": "Rolling", "rollingParams": {"pre": {**hook(), "failurePolicy": "Maybe"}}}
    await setup.change(config("app:2", strategy=nonsense))

    found = await setup.roll()

    condition = find(found.status.conditions, "Progressing")
    assert condition is not None
    assert "failurePolicy 'Maybe' is none of Abort, Retry, Ignore" in condition.message
    assert (await setup.sizes())["web-1"] == 3


async def test_one_that_came_from_a_machine_may_be_deleted(setup: ConfigSetup) -> None:
    stored = await setup.store.create(config())
    await setup.store.update(stored.with_metadata(finalizers=("upwell.dev/rollout",)))
    await setup.store.delete(DeploymentConfig, NAMESPACE, "web")

    await setup.reconcile()

    assert (await setup.store.list(DeploymentConfig, Selector(NAMESPACE))).items == []
