"""A Deployment from its first rollout to its end, over a store, a runtime and a router."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import (
    BETTER,
    CRASHING,
    GOOD,
    HANGING,
    KilledError,
    World,
)

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import ConfigMap, Secret, Service
from upwell.api.meta import Condition, ObjectKey
from upwell.oci import Digest
from upwell.policy.rollouts.settings import DRAIN_ANNOTATION
from upwell.reconcilers.rollouts import FINALIZER
from upwell.workload.interface import ForbiddenError, ImagePullError, State

KEY = ObjectKey("Deployment", "shop", "web")


def deployment(
    image: str, replicas: int = 1, *, container: Mapping[str, Any] | None = None, **spec: Any
) -> Deployment:
    return decode_as(
        Deployment,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "app",
                                "image": image,
                                "ports": [{"name": "http", "containerPort": 8080}],
                                **(container or {}),
                            }
                        ]
                    },
                },
                **spec,
            },
        },
    )


def service() -> Service:
    return decode_as(
        Service,
        {
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    )


@pytest.fixture
async def world() -> World:
    world = World()
    await world.apply(service())
    return world


async def stored(world: World) -> Deployment:
    return await world.store.get(Deployment, "shop", "web")


async def condition(world: World, kind: str) -> Condition:
    found = find((await stored(world)).status.conditions, kind)
    assert found is not None
    return found


async def change(world: World, new: Deployment) -> None:
    """Apply another spec as a person does; metadata and status stay."""
    current = await stored(world)
    await world.store.update(current.model_copy(update={"spec": new.spec}))


async def rolled_out(world: World, image: str = GOOD, replicas: int = 1) -> None:
    await world.apply(deployment(image, replicas))
    await world.settle(KEY)
    assert world.runtime.images() == [image] * replicas


async def test_the_first_rollout_serves_and_says_so(world: World) -> None:
    await rolled_out(world, replicas=2)

    status = (await stored(world)).status
    assert (status.replicas, status.ready_replicas, status.updated_replicas) == (2, 2, 2)
    assert (status.available_replicas, status.unavailable_replicas) == (2, 0)
    assert status.observed_generation == 1
    assert (await condition(world, "Available")).is_true
    assert (await condition(world, "Progressing")).reason == "NewReplicaSetAvailable"
    assert [(one.revision, one.phase) for one in status.revisions] == [(1, "Complete")]
    assert status.revisions[0].images == {"app": GOOD}
    assert status.revisions[0].live_at is not None
    assert len(world.router.targets()) == 2


async def test_names_are_deterministic(world: World) -> None:
    await rolled_out(world)

    revision = (await stored(world)).status.revisions[0].hash
    assert world.runtime.names() == [f"upwell-shop-deploy-web-{revision[:8]}-0"]


async def test_a_new_image_replaces_the_old_one_without_a_failed_request(world: World) -> None:
    await rolled_out(world, replicas=3)

    await change(world, deployment(BETTER, 3))
    await world.settle(KEY)

    assert world.runtime.images() == [BETTER] * 3
    assert world.failed_requests == []
    records = (await stored(world)).status.revisions
    assert [(one.revision, one.phase, one.cause) for one in records] == [
        (2, "Complete", "image change"),
        (1, "Complete", "config change"),
    ]


async def test_a_settled_deployment_writes_nothing(world: World) -> None:
    await rolled_out(world)
    before = (await stored(world)).resource_version

    for _ in range(3):
        await world.reconcile(KEY)
        world.clock.advance(100)

    assert (await stored(world)).resource_version == before


async def test_an_old_instance_finishes_its_requests_before_it_is_stopped(world: World) -> None:
    await rolled_out(world)
    (old,) = world.runtime.names()
    world.router.open_sessions[old] = 1
    await change(world, deployment(BETTER))

    await world.settle(KEY, limit=25)

    assert old in world.runtime.names()
    assert old not in world.router.targets()
    world.router.open_sessions.clear()
    await world.settle(KEY)
    assert world.runtime.images() == [BETTER]


@pytest.mark.parametrize(("annotations", "seconds"), [({}, 30), ({DRAIN_ANNOTATION: "5"}, 5)])
async def test_a_connection_that_never_ends_is_cut_off_when_its_time_is_over(
    world: World, annotations: dict[str, str], seconds: int
) -> None:
    await rolled_out(world)
    (old,) = world.runtime.names()
    world.router.open_sessions[old] = 1
    began = world.clock()
    await world.store.update((await stored(world)).with_metadata(annotations=annotations))
    await change(world, deployment(BETTER))

    await world.settle(KEY, turns=1000)

    assert world.runtime.images() == [BETTER]
    taken = (world.clock() - began).total_seconds()
    assert seconds <= taken < seconds + 3


async def test_a_drain_that_cannot_be_understood_is_reported_and_changes_nothing(
    world: World,
) -> None:
    await rolled_out(world)
    unclear = {DRAIN_ANNOTATION: "soon"}
    await world.store.update((await stored(world)).with_metadata(annotations=unclear))
    await change(world, deployment(BETTER))
    await world.settle(KEY)

    progressing = await condition(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "InvalidAnnotation")
    assert world.runtime.images() == [GOOD]
    await world.store.delete(Deployment, "shop", "web")
    await world.settle(KEY)
    assert world.runtime.names() == []


@pytest.mark.parametrize(
    ("image", "why"), [(CRASHING, "no database"), (HANGING, "last line of upwell-shop-deploy-web")]
)
async def test_a_broken_image_is_rolled_back_while_the_old_one_serves(
    world: World, image: str, why: str
) -> None:
    await rolled_out(world)
    (old,) = world.runtime.names()

    await change(world, deployment(image))
    await world.settle(KEY)

    assert world.runtime.names() == [old]
    assert world.router.targets() == {old}
    assert world.failed_requests == []
    status = (await stored(world)).status
    assert status.failed_hash == status.revisions[0].hash
    assert [one.phase for one in status.revisions] == ["Failed", "Complete"]
    progressing = await condition(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    for part in (image, why, "revision 1", GOOD, "serves instead", "revision 2 is not tried again"):
        assert part in progressing.message
    assert (await condition(world, "RolledBack")).is_true
    assert (await condition(world, "Available")).is_true


async def test_a_failed_image_is_not_tried_again_until_the_template_changes(world: World) -> None:
    await rolled_out(world)
    await change(world, deployment(CRASHING))
    await world.settle(KEY)
    starts = len([call for call in world.calls if call.startswith("start")])

    for _ in range(5):
        world.clock.advance(600)
        await world.settle(KEY)
    assert len([call for call in world.calls if call.startswith("start")]) == starts

    await change(world, deployment(BETTER))
    await world.settle(KEY)
    assert world.runtime.images() == [BETTER]
    assert (await stored(world)).status.failed_hash is None
    assert find((await stored(world)).status.conditions, "RolledBack") is None


async def test_a_failed_image_is_tried_again_when_the_template_comes_back_to_it(
    world: World,
) -> None:
    await rolled_out(world)
    await change(world, deployment(CRASHING))
    await world.settle(KEY)
    await change(world, deployment(GOOD))
    await world.settle(KEY)
    starts = len([call for call in world.calls if call.startswith("start")])

    await change(world, deployment(CRASHING))
    await world.settle(KEY)

    assert len([call for call in world.calls if call.startswith("start")]) == starts + 3
    assert world.runtime.images() == [GOOD]


async def test_a_first_rollout_that_fails_says_that_nothing_can_be_fallen_back_on(
    world: World,
) -> None:
    await world.apply(deployment(CRASHING))
    await world.settle(KEY, limit=120)

    progressing = await condition(world, "Progressing")
    assert progressing.reason == "ProgressDeadlineExceeded"
    assert "no earlier revision" in progressing.message
    before = len(world.calls)
    await world.settle(KEY, limit=700)
    assert len(world.calls) > before  # it is tried on, with backoff


async def test_an_image_that_cannot_be_pulled_is_rolled_back_with_the_reason(world: World) -> None:
    await rolled_out(world)
    world.runtime.failures[BETTER] = ImagePullError("registry.test answered 500")

    await change(world, deployment(BETTER))
    for _ in range(4):
        await world.reconcile(KEY)
    assert (await condition(world, "Progressing")).reason == "ImagePullFailed"
    await world.settle(KEY)

    assert world.runtime.images() == [GOOD]
    assert "answered 500" in (await condition(world, "RolledBack")).message


async def test_what_the_administrator_forbids_is_rolled_back_at_once(world: World) -> None:
    await rolled_out(world)
    world.runtime.failures[BETTER] = ForbiddenError("host path /etc is not allowed")

    await change(world, deployment(BETTER))
    await world.settle(KEY, limit=10)

    assert "host path /etc" in (await condition(world, "RolledBack")).message


async def test_a_crashed_instance_is_started_again_after_its_backoff(world: World) -> None:
    await rolled_out(world)
    (name,) = world.runtime.names()

    world.runtime.end(name)
    await world.settle(KEY)

    _, instance = world.runtime.running[name]
    assert (instance.state, instance.ready, instance.restarts) == (State.RUNNING, True, 1)


async def test_scaling_up_and_down(world: World) -> None:
    await rolled_out(world)

    await change(world, deployment(GOOD, 3))
    await world.settle(KEY)
    assert len(world.router.targets()) == 3

    await change(world, deployment(GOOD, 0))
    await world.settle(KEY)
    assert world.runtime.names() == []
    assert world.failed_requests == []
    assert len((await stored(world)).status.revisions) == 1


async def test_a_paused_deployment_keeps_what_it_has(world: World) -> None:
    await rolled_out(world)

    await change(world, deployment(BETTER, 2, paused=True))
    await world.settle(KEY)
    assert world.runtime.images() == [GOOD, GOOD]
    assert (await condition(world, "Progressing")).reason == "DeploymentPaused"

    await change(world, deployment(BETTER, 2))
    await world.settle(KEY)
    assert world.runtime.images() == [BETTER, BETTER]


async def test_recreate_never_runs_two_revisions_at_once(world: World) -> None:
    recreate: dict[str, Any] = {"strategy": {"type": "Recreate"}}
    await world.apply(deployment(GOOD, **recreate))
    await world.settle(KEY)

    await change(world, deployment(BETTER, **recreate))
    await world.settle(KEY)

    (old,) = [call for call in world.calls if call.startswith("stop")]
    starts = [call for call in world.calls if call.startswith("start")]
    assert world.calls.index(old) < world.calls.index(starts[-1])
    assert world.runtime.images() == [BETTER]


async def test_a_blank_image_waits_and_says_for_what(world: World) -> None:
    await world.apply(deployment(" "))
    await world.settle(KEY)

    assert world.runtime.names() == []
    progressing = await condition(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ImageNotResolved")
    assert "container app has no image" in progressing.message


async def test_a_placeholder_applied_again_changes_nothing_that_runs(world: World) -> None:
    await rolled_out(world)
    before = world.runtime.names()

    await change(world, deployment(" "))
    await world.settle(KEY)

    assert world.runtime.names() == before
    assert (await condition(world, "Available")).is_true


async def test_a_missing_secret_is_named_and_waited_for(world: World) -> None:
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
        {"name": "URL", "value": "http://$(TOKEN)@x"},
    ]
    await world.apply(deployment(GOOD, container={"env": env}))
    await world.settle(KEY)
    progressing = await condition(world, "Progressing")
    assert progressing.reason == "SecretNotFound"
    assert "'api'" in progressing.message

    secret = Secret(data=Secret.encode_values({"token": b"s3"}))
    await world.apply(secret.with_metadata(namespace="shop", name="api"))
    await world.settle(KEY)

    ((spec, _),) = world.runtime.running.values()
    assert spec.containers[0].env == {"TOKEN": "s3", "URL": "http://s3@x"}
    assert "s3" not in repr(spec)


async def test_changing_a_config_map_restarts_nothing(world: World) -> None:
    source = [{"configMapRef": {"name": "settings"}}]
    config = ConfigMap(data={"COLOUR": "red"}).with_metadata(namespace="shop", name="settings")
    config = await world.apply(config)
    await world.apply(deployment(GOOD, container={"envFrom": source}))
    await world.settle(KEY)
    calls = list(world.calls)

    await world.store.update(config.model_copy(update={"data": {"COLOUR": "blue"}}))
    await world.settle(KEY)

    assert world.calls == calls


async def test_a_tag_is_pinned_once_for_all_replicas_of_a_revision(world: World) -> None:
    tag = "registry.test/app:1"
    world.registry.tags[tag] = Digest.of(b"good")
    await world.apply(deployment(tag))
    await world.settle(KEY)
    world.registry.tags[tag] = Digest.of(b"better")

    await change(world, deployment(tag, 2))
    await world.settle(KEY)

    assert world.runtime.images() == [GOOD, GOOD]


async def test_a_tag_that_does_not_exist_yet_is_asked_for_again(world: World) -> None:
    tag = "registry.test/app:1"
    await world.apply(deployment(tag))
    wish = await world.reconcile(KEY)
    assert wish is not None
    assert (await condition(world, "Progressing")).reason == "ManifestUnknown"

    world.registry.tags[tag] = Digest.of(b"good")
    await world.settle(KEY)

    assert world.runtime.images() == [GOOD]


async def test_only_as_many_old_revisions_are_kept_as_wanted(world: World) -> None:
    await world.apply(deployment(GOOD, revisionHistoryLimit=1))
    await world.settle(KEY)
    for number in range(3):
        image = f"registry.test/app@{Digest.of(str(number).encode())}"
        await change(world, deployment(image, revisionHistoryLimit=1))
        await world.settle(KEY)

    assert [one.revision for one in (await stored(world)).status.revisions] == [4, 3]


async def test_deletion_drains_and_stops_before_the_object_goes(world: World) -> None:
    await rolled_out(world, replicas=2)
    assert FINALIZER in (await stored(world)).metadata.finalizers

    await world.store.delete(Deployment, "shop", "web")
    await world.settle(KEY)

    assert world.runtime.names() == []
    assert world.failed_requests == []
    assert not (await world.store.list(Deployment)).items


async def test_instances_that_nobody_owns_are_stopped(world: World) -> None:
    await rolled_out(world)
    world.store, orphaned = World().store, world.store
    world.restart()

    await world.settle(KEY)

    assert world.runtime.names() == []
    assert (await orphaned.list(Deployment)).items  # the other store had the owner all along


@pytest.mark.parametrize("image", [BETTER, CRASHING])
@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_kill_at_any_call_changes_nothing_in_the_end(image: str, replicas: int) -> None:
    undisturbed = World()
    await _roll_over(undisturbed, image, replicas)
    for kill_at in range(1, len(undisturbed.calls) + 1):
        world = World()
        world.kill_at = kill_at
        await _roll_over(world, image, replicas)

        assert world.kills == 1
        assert world.runtime.names() == undisturbed.runtime.names()
        assert world.router.table == undisturbed.router.table
        assert world.failed_requests == []


async def _roll_over(world: World, image: str, replicas: int) -> None:
    await world.apply(service())
    await world.apply(deployment(GOOD, replicas))
    await _survive(world)
    await change(world, deployment(image, replicas))
    await _survive(world)


async def _survive(world: World) -> None:
    """Settle, with a new process whenever the old one is killed."""
    while True:
        try:
            return await world.settle(KEY)
        except KilledError:
            world.restart()
        except BaseExceptionGroup:  # a TaskGroup wraps what kills one of its tasks
            world.restart()
