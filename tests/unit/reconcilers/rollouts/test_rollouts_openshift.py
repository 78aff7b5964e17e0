"""DeploymentConfigs as OpenShift promises them: hooks, test, custom strategies, triggers, verbs."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import yaml
from tests.support.builds.openshift_corpus import CORPUS, DEPLOYMENTS, deployment_config
from tests.support.rollouts.memory_machine import (
    BETTER,
    CRASHING,
    GOOD,
    HANGING,
    KilledError,
    World,
)

from upwell.api.apps import Deployment, DeploymentConfig, DeploymentTrigger
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey
from upwell.policy.rollouts.requests import RolloutRefusedError
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, with_images

FAILS = {"execNewPod": {"command": ["migrate"]}, "failurePolicy": "Abort"}


def key(config: DeploymentConfig) -> ObjectKey:
    return config.key


async def stored(world: World, config: DeploymentConfig) -> DeploymentConfig:
    return await world.store.get(DeploymentConfig, "shop", config.name)


async def progressing(world: World, config: DeploymentConfig) -> Condition:
    found = find((await stored(world, config)).status.conditions, "Progressing")
    assert found is not None
    return found


async def pass_by(world: World, place: ObjectKey, seconds: float) -> None:
    """Let so much time pass, in small steps."""
    end = world.clock() + timedelta(seconds=seconds)
    while world.clock() < end:
        wish = await world.reconcile(place)
        world.runtime.turn()
        world.clock.advance(0.25 if wish == 0 else 1)


def config(image: str, *, env: str = "", **spec: Any) -> DeploymentConfig:
    container = {"name": "app", "image": image, "env": [{"name": "MODE", "value": env}]}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    document = {
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"template": template, "replicas": 2, **spec},
    }
    return decode_as(DeploymentConfig, document)


async def change(world: World, new: DeploymentConfig) -> None:
    current = await stored(world, new)
    await world.store.update(current.model_copy(update={"spec": new.spec}))


def moves(world: World) -> list[str]:
    """Return what was started, and which replicas were stopped, as `run pre` or `stop 0`."""
    found = []
    for call in world.calls:
        verb, _, name = call.partition(" ")
        if verb in {"run", "stop"}:
            match = re.search(r"-(pre|mid|post|custom)-\d+$|-(\d+)$", name)
            assert match
            if verb == "run" or match[2]:
                found.append(f"{verb} {match[1] or match[2]}")
    return found


async def test_recreate_runs_its_hooks_between_the_old_and_the_new() -> None:
    world = World()
    hooked = deployment_config("testdata/complete-dc-hooks.yaml")
    await world.apply(hooked)
    await world.settle(key(hooked))
    world.calls.clear()

    await change(world, deployment_config("testdata/complete-dc-hooks.yaml", BETTER))
    await world.settle(key(hooked))

    before = ["run pre", "stop 1", "stop 0", "run mid"]
    assert moves(world) == [*before, "run 0", "run 1", "run post"]
    record = (await stored(world, hooked)).status.revisions[0]
    assert {name: hook.phase for name, hook in record.hooks.items()} == dict.fromkeys(
        ("pre", "mid", "post"), "Complete"
    )


@pytest.mark.parametrize("kill_at", range(1, 22))
async def test_a_hook_runs_to_one_end_whatever_is_killed(kill_at: int) -> None:
    world = World()
    hooked = deployment_config("testdata/complete-dc-hooks.yaml")
    await world.apply(hooked)
    world.kill_at = kill_at
    while True:
        try:
            await world.settle(key(hooked))
            break
        except (KilledError, BaseExceptionGroup):
            world.kill_at = 0
            world.restart()

    assert [role for role in world.runtime.ran if role] == ["pre", "mid", "post"]
    assert world.runtime.images() == [GOOD] * 2


async def test_an_aborting_hook_leaves_what_serves_alone() -> None:
    world = World()
    await world.apply(config(GOOD))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    world.calls.clear()
    world.runtime.exits["pre"] = [1]

    hooked = config(BETTER, strategy={"rollingParams": {"pre": FAILS}})
    await change(world, hooked)
    await world.settle(key(hooked))

    assert moves(world) == ["run pre"]
    assert world.runtime.images() == [GOOD] * 2
    condition = await progressing(world, hooked)
    assert condition.status == "False"
    assert "was given up: the pre hook: exited 1" in condition.message
    assert "revision 1" in condition.message

    world.runtime.exits["pre"] = [0]
    await world.actions.retry(DeploymentConfig, "shop", "db")
    await world.settle(key(hooked))
    assert world.runtime.images() == [BETTER] * 2
    assert (await stored(world, hooked)).status.latest_version == 2


async def test_a_failed_post_hook_brings_the_old_version_back() -> None:
    world = World()
    await world.apply(config(GOOD))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    world.runtime.exits["post"] = [7]

    hooked = config(BETTER, strategy={"rollingParams": {"post": FAILS}})
    await change(world, hooked)
    await world.settle(key(hooked))

    assert world.runtime.images() == [GOOD] * 2


async def test_a_hook_that_aborts_the_first_rollout_leaves_nothing_running() -> None:
    world = World()
    broken = deployment_config(f"{DEPLOYMENTS}/test-deployment-broken.yaml")
    world.runtime.exits["pre"] = [1]
    await world.apply(broken)
    await world.settle(key(broken))

    assert world.runtime.names() == []
    assert (await stored(world, broken)).status.revisions[0].phase == "Failed"
    assert "nothing runs until `rollout retry`" in (await progressing(world, broken)).message


async def test_a_retried_hook_runs_until_it_succeeds() -> None:
    world = World()
    hooked = deployment_config(f"{DEPLOYMENTS}/failing-pre-hook.yaml")
    world.runtime.exits["pre"] = [1, 1, 0]
    await world.apply(hooked)
    told = set()
    for _ in range(60):
        wish = await world.reconcile(key(hooked))
        world.runtime.turn()
        world.clock.advance(min(wish or 1, 5))
        condition = find((await stored(world, hooked)).status.conditions, "Progressing")
        told.add(condition.message if condition else "")

    assert any("Retrying hook pod (retry #1)" in message for message in told)
    assert (await stored(world, hooked)).status.revisions[0].hooks["pre"].retries == 2
    assert world.runtime.images() == [GOOD]


async def test_a_hook_that_is_retried_in_vain_ends_with_the_active_deadline() -> None:
    world = World()
    world.runtime.exits["pre"] = [1]
    retry = {"execNewPod": {"command": ["migrate"]}, "failurePolicy": "Retry"}
    strategy = {"rollingParams": {"pre": retry}, "activeDeadlineSeconds": 700}
    hooked = config(GOOD, strategy=strategy)
    await world.apply(hooked)
    await world.settle(key(hooked), turns=3000, limit=5000)

    assert world.runtime.names() == []
    assert "was not complete after 700 s" in (await progressing(world, hooked)).message


async def test_an_ignored_hook_goes_on() -> None:
    world = World()
    world.runtime.exits["pre"] = [1]
    hooked = config(GOOD, strategy={"rollingParams": {"pre": {**FAILS, "failurePolicy": "Ignore"}}})
    await world.apply(hooked)
    await world.settle(key(hooked))

    assert world.runtime.images() == [GOOD] * 2
    assert (await stored(world, hooked)).status.revisions[0].hooks["pre"].phase == "Ignored"


async def test_a_post_hook_tags_what_was_deployed_and_a_test_leaves_nothing_running() -> None:
    world = World()
    to = {"kind": "ImageStreamTag", "name": "sample-stream:deployed"}
    post = {"failurePolicy": "Ignore", "tagImages": [{"containerName": "app", "to": to}]}
    tagging = config(GOOD, test=True, strategy={"rollingParams": {"post": post}})
    await world.apply(tagging)
    await world.settle(key(tagging))

    stream = await world.store.get(ImageStream, "shop", "sample-stream")
    assert [
        (tag.name, tag.from_ and (tag.from_.kind, tag.from_.name)) for tag in stream.spec.tags
    ] == [("deployed", ("DockerImage", GOOD))]
    assert world.runtime.names() == []
    assert (await stored(world, tagging)).status.revisions[0].phase == "Complete"


async def test_openshifts_test_deployment_ends_with_nothing_running() -> None:
    world = World()
    tested = deployment_config(f"{DEPLOYMENTS}/test-deployment-test.yaml")
    await world.apply(tested)
    await world.settle(key(tested))

    assert {"run pre", "run 0", "run 1"} <= set(moves(world))
    assert world.runtime.names() == []


async def test_a_custom_command_rolls_out_half_and_then_all() -> None:
    world = World()
    custom = deployment_config(f"{DEPLOYMENTS}/custom-deployment.yaml")
    said: Mapping[str, list[str]] = {"done": []}
    wish = ["50"]

    def executed(name: str, command: tuple[str, ...]) -> tuple[int, bytes]:
        assert name.endswith("-custom-1")
        if "cat " in command[-1]:
            return 0, wish[0].encode()
        said["done"].append(command[-1].split()[1])
        return 0, b""

    world.runtime.lasting.add("custom")
    world.runtime.executed = executed
    await world.apply(custom)
    await pass_by(world, key(custom), 30)
    assert len(world.runtime.images()) == 1
    assert set(said["done"]) == {"50"}

    wish[0] = "100"
    await pass_by(world, key(custom), 30)
    assert len(world.runtime.images()) == 2
    assert (await stored(world, custom)).status.revisions[0].phase == "Progressing"

    world.runtime.lasting.clear()
    await world.settle(key(custom))
    assert (await stored(world, custom)).status.revisions[0].phase == "Complete"
    assert len(world.runtime.names()) == 2


async def test_a_custom_command_that_fails_keeps_the_old_version() -> None:
    world = World()
    await world.apply(config(GOOD))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    world.runtime.exits["custom"] = [2]
    strategy = {"type": "Custom", "customParams": {"command": ["deploy"]}}
    await change(world, config(BETTER, strategy=strategy))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    assert world.runtime.images() == [GOOD] * 2
    assert "the custom command: exited 2" in (await progressing(world, config(GOOD))).message


def stream(**tags: str) -> ImageStream:
    status = [
        {
            "tag": name,
            "items": [
                {
                    "created": "2026-01-01T00:00:00Z",
                    "dockerImageReference": image,
                    "image": image.partition("@")[2],
                }
            ],
        }
        for name, image in tags.items()
    ]
    return decode_as(
        ImageStream,
        {"metadata": {"namespace": "shop", "name": "test"}, "status": {"tags": status}},
    )


async def push(world: World, **tags: str) -> None:
    made = stream(**tags)
    known = [one for one in (await world.store.list(ImageStream)).items if one.name == "test"]
    created = known[0] if known else await world.store.create(made)
    await world.store.update_status(created.with_status(made.status))


async def test_only_an_image_starts_what_has_no_trigger_for_changes() -> None:
    world = World()
    triggered = deployment_config(f"{DEPLOYMENTS}/deployment-trigger.yaml", image="")
    await world.apply(triggered)
    await world.settle(key(triggered))
    assert (await stored(world, triggered)).status.latest_version == 0

    await push(world, v1=GOOD)
    await world.settle(key(triggered))
    assert (await stored(world, triggered)).status.latest_version == 1
    assert world.runtime.images() == [GOOD]

    await push(world, v1=GOOD, v2=BETTER)
    current = await stored(world, triggered)
    params = (current.spec.triggers or ())[0].image_change_params
    assert params is not None
    source = params.from_.model_copy(update={"name": "test:v2"})
    moved = params.model_copy(update={"from_": source})
    triggers = (DeploymentTrigger(type="ImageChange", image_change_params=moved),)
    await world.store.update(
        current.model_copy(update={"spec": current.spec.model_copy(update={"triggers": triggers})})
    )
    await world.settle(key(triggered))
    status = (await stored(world, triggered)).status
    assert status.latest_version == 2
    assert status.details is not None
    assert status.details["message"] == "image change"
    assert world.runtime.images() == [BETTER]


async def test_an_image_that_is_blanked_fifty_times_is_set_again() -> None:
    path = CORPUS / "extended/testdata/image/deployment-with-annotation-trigger.yaml"
    if not path.is_file():
        pytest.skip(f"no manifest {path} (set UPWELL_SHARED)")
    document = yaml.safe_load(path.read_text())
    document["metadata"]["namespace"] = "shop"
    world = World()
    deployment = await world.apply(decode_as(Deployment, document))
    await world.settle(deployment.key)
    assert world.runtime.names() == []

    await push(world, v1=GOOD)
    await world.settle(deployment.key)
    for _ in range(50):
        current = await world.store.get(Deployment, "shop", "test")
        blank = {("test", False): " "}
        await world.store.update(with_images(current, blank))
        await world.settle(deployment.key)

    current = await world.store.get(Deployment, "shop", "test")
    assert current.spec.template.spec.containers[0].image == GOOD
    assert [one.revision for one in current.status.revisions] == [1]
    assert world.runtime.images() == [GOOD]


async def test_a_changed_variable_waits_where_only_images_trigger() -> None:
    world = World()
    params = {
        "automatic": True,
        "containerNames": ["app"],
        "from": {"kind": "ImageStreamTag", "name": "test:v1"},
    }
    triggers = [{"type": "ImageChange", "imageChangeParams": params}]
    await push(world, v1=GOOD)
    await world.apply(config("", triggers=triggers))
    place = ObjectKey("DeploymentConfig", "shop", "db")
    await world.settle(place)

    current = await stored(world, config(GOOD))
    changed = config(GOOD, env="new", triggers=triggers)
    await world.store.update(current.model_copy(update={"spec": changed.spec}))
    await world.settle(place)
    assert (await stored(world, changed)).status.latest_version == 1
    assert (await progressing(world, changed)).reason == "ManualOnly"

    await world.actions.latest(DeploymentConfig, "shop", "db", again=False)
    await world.settle(place)
    assert (await stored(world, changed)).status.latest_version == 2


async def test_a_paused_one_refuses_in_openshifts_words_and_goes_on_when_resumed() -> None:
    world = World()
    paused = deployment_config(f"{DEPLOYMENTS}/paused-deployment.yaml")
    await world.apply(paused)
    await world.settle(key(paused))
    assert world.runtime.names() == []
    status = (await stored(world, paused)).status
    assert status.observed_generation == (await stored(world, paused)).generation

    place = (DeploymentConfig, "shop", "paused")
    with pytest.raises(RolloutRefusedError, match="cannot deploy a paused deployment config"):
        await world.actions.latest(*place, again=False)
    with pytest.raises(RolloutRefusedError, match="unable to cancel paused deployment"):
        await world.actions.cancel(*place)
    with pytest.raises(RolloutRefusedError, match="unable to retry paused deployment config"):
        await world.actions.retry(*place)
    with pytest.raises(RolloutRefusedError, match="cannot rollback a paused deployment config"):
        await world.actions.roll_back(*place, 3)

    current = await stored(world, paused)
    spec = current.spec.model_copy(update={"paused": False})
    await world.store.update(current.model_copy(update={"spec": spec}))
    await world.settle(key(paused))
    assert world.runtime.images() == [GOOD]


async def test_latest_replaces_every_instance_and_undo_goes_back_to_the_first() -> None:
    world = World()
    tested = deployment_config(f"{DEPLOYMENTS}/generation-test.yaml")
    await world.apply(tested)
    await world.settle(key(tested))
    before = world.runtime.names()

    await world.actions.latest(DeploymentConfig, "shop", tested.name, again=False)
    await world.settle(key(tested))
    status = (await stored(world, tested)).status
    assert status.latest_version == 2
    assert status.details is not None
    assert status.details["message"] == "manual change"
    assert set(world.runtime.names()).isdisjoint(before)

    await world.actions.roll_back(DeploymentConfig, "shop", tested.name, 1)
    await world.settle(key(tested))
    undone = await stored(world, tested)
    assert undone.status.latest_version == 3
    assert undone.status.details is not None
    assert undone.status.details["message"] == "rollback"
    assert world.runtime.names() == before
    assert HOLD_ANNOTATION in undone.annotations


async def test_a_rollout_is_cancelled_and_another_refused_while_it_goes_on() -> None:
    world = World()
    await world.apply(config(GOOD))
    place = ObjectKey("DeploymentConfig", "shop", "db")
    await world.settle(place)
    await change(world, config(HANGING))
    await pass_by(world, place, 30)

    with pytest.raises(RolloutRefusedError, match=r"#2 is already in progress \(Running"):
        await world.actions.latest(DeploymentConfig, "shop", "db", again=True)
    await world.actions.cancel(DeploymentConfig, "shop", "db")
    await world.settle(place)

    assert world.runtime.images() == [GOOD] * 2
    record = (await stored(world, config(GOOD))).status.revisions[0]
    assert (record.phase, record.message) == ("Failed", "revision 2 was cancelled by a person")
    with pytest.raises(RolloutRefusedError, match="rollout #2 is failed"):
        await world.actions.cancel(DeploymentConfig, "shop", "db")


async def test_only_what_failed_is_retried() -> None:
    world = World()
    await world.apply(config(GOOD))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    with pytest.raises(RolloutRefusedError, match="only failed deployments can be"):
        await world.actions.retry(DeploymentConfig, "shop", "db")


async def test_it_is_not_complete_before_its_instances_were_ready_for_long_enough() -> None:
    world = World()
    slow = deployment_config(f"{DEPLOYMENTS}/deployment-min-ready-seconds.yaml")
    await world.apply(slow)
    await pass_by(world, key(slow), 30)
    assert len(world.runtime.images()) == 2
    assert (await stored(world, slow)).status.revisions[0].phase == "Progressing"

    await world.settle(key(slow))
    assert (await stored(world, slow)).status.revisions[0].phase == "Complete"


async def test_what_never_gets_ready_has_failed() -> None:
    world = World()
    never = deployment_config(f"{DEPLOYMENTS}/readiness-test.yaml", HANGING)
    await world.apply(never)
    await world.settle(key(never), limit=200)

    assert (await stored(world, never)).status.revisions[0].phase == "Failed"
    assert "made no progress for 30 s" in (await progressing(world, never)).message


async def test_what_fails_after_its_pre_hook_falls_back_and_is_not_tried_again() -> None:
    world = World()
    await world.apply(deployment_config("testdata/failing-dc.yaml"))
    place = ObjectKey("DeploymentConfig", "shop", "failing-dc")
    await world.settle(place)
    await change(world, deployment_config("testdata/failing-dc.yaml", CRASHING))
    await world.settle(place)
    assert world.runtime.images() == [GOOD] * 2
    world.calls.clear()

    await world.settle(place, limit=7200)
    assert not [call for call in world.calls if call.startswith("start")]


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        ({"failurePolicy": "Shrug", "execNewPod": {"command": ["x"]}}, "failurePolicy 'Shrug'"),
        ({"failurePolicy": "Abort"}, "needs execNewPod or tagImages"),
        ({"failurePolicy": "Abort", "execNewPod": {"containerName": "app"}}, "needs a command"),
        ({"execNewPod": {"command": ["x"], "containerName": "other"}}, "'other' names no"),
        ({"execNewPod": {"command": ["x"], "volumes": ["v"]}}, "volume 'v'"),
        ({"tagImages": [{"to": {"kind": "DockerImage", "name": "a:b"}}]}, "an ImageStreamTag"),
    ],
)
async def test_a_hook_that_cannot_be_run_says_why(hook: Mapping[str, Any], why: str) -> None:
    world = World()
    await world.apply(config(GOOD, strategy={"rollingParams": {"pre": hook}}))
    await world.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    condition = await progressing(world, config(GOOD))
    assert condition.reason == "InvalidHook"
    assert why in condition.message
