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
    RolloutSetup,
)
from tests.support.rollouts.permissions import permit_all
from tests.support.store.mortal_store import KilledError

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


async def stored(setup: RolloutSetup, config: DeploymentConfig) -> DeploymentConfig:
    return await setup.store.get(DeploymentConfig, "shop", config.name)


async def progressing(setup: RolloutSetup, config: DeploymentConfig) -> Condition:
    found = find((await stored(setup, config)).status.conditions, "Progressing")
    assert found is not None
    return found


async def pass_by(setup: RolloutSetup, place: ObjectKey, seconds: float) -> None:
    """Let so much time pass, in small steps."""
    end = setup.clock() + timedelta(seconds=seconds)
    while setup.clock() < end:
        wish = await setup.reconcile(place)
        setup.runtime.turn()
        setup.clock.advance(0.25 if wish == 0 else 1)


def config(image: str, *, env: str = "", **spec: Any) -> DeploymentConfig:
    container = {"name": "app", "image": image, "env": [{"name": "MODE", "value": env}]}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container]}}
    document = {
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"template": template, "replicas": 2, **spec},
    }
    return decode_as(DeploymentConfig, document)


async def change(setup: RolloutSetup, new: DeploymentConfig) -> None:
    current = await stored(setup, new)
    await setup.store.update(current.model_copy(update={"spec": new.spec}))


def moves(setup: RolloutSetup) -> list[str]:
    """Return what was started, and which replicas were stopped, as `run pre` or `stop 0`."""
    found = []
    for call in setup.calls:
        verb, _, name = call.partition(" ")
        if verb in {"run", "stop"}:
            match = re.search(r"-(pre|mid|post|custom)-\d+$|-(\d+)$", name)
            assert match
            if verb == "run" or match[2]:
                found.append(f"{verb} {match[1] or match[2]}")
    return found


async def test_recreate_runs_its_hooks_between_the_old_and_the_new() -> None:
    setup = RolloutSetup()
    hooked = deployment_config("testdata/complete-dc-hooks.yaml")
    await setup.apply(hooked)
    await setup.settle(key(hooked))
    setup.calls.clear()

    await change(setup, deployment_config("testdata/complete-dc-hooks.yaml", BETTER))
    await setup.settle(key(hooked))

    before = ["run pre", "stop 1", "stop 0", "run mid"]
    assert moves(setup) == [*before, "run 0", "run 1", "run post"]
    record = (await stored(setup, hooked)).status.revisions[0]
    assert {name: hook.phase for name, hook in record.hooks.items()} == dict.fromkeys(
        ("pre", "mid", "post"), "Complete"
    )


@pytest.mark.parametrize("kill_at", range(1, 22))
async def test_a_hook_runs_to_one_end_whatever_is_killed(kill_at: int) -> None:
    setup = RolloutSetup()
    hooked = deployment_config("testdata/complete-dc-hooks.yaml")
    await setup.apply(hooked)
    setup.kill_at = kill_at
    while True:
        try:
            await setup.settle(key(hooked))
            break
        except (KilledError, BaseExceptionGroup):
            setup.kill_at = 0
            setup.restart()

    assert [role for role in setup.runtime.ran if role] == ["pre", "mid", "post"]
    assert setup.runtime.images() == [GOOD] * 2


async def test_a_hook_that_the_machine_lost_runs_again_and_has_not_failed() -> None:
    setup = RolloutSetup()
    hooked = config(GOOD, strategy={"type": "Recreate", "recreateParams": {"pre": FAILS}})
    setup.runtime.lasting.add("pre")
    await setup.apply(hooked)
    await pass_by(setup, key(hooked), 5)
    setup.runtime.lose(setup.runtime.names()[0])
    await pass_by(setup, key(hooked), 5)
    assert setup.runtime.ran == ["pre", "pre"]

    setup.runtime.lose(setup.runtime.names()[0])
    await pass_by(setup, key(hooked), 3)
    assert setup.runtime.ran == ["pre", "pre"], "in a row it waits"

    setup.runtime.lasting.clear()
    await setup.settle(key(hooked))
    record = (await stored(setup, hooked)).status.revisions[0]
    assert (record.phase, record.hooks["pre"].phase) == ("Complete", "Complete")
    assert [role for role in setup.runtime.ran if role] == ["pre"] * 3


async def test_a_custom_command_that_the_machine_lost_runs_again() -> None:
    setup = RolloutSetup()
    custom = deployment_config(f"{DEPLOYMENTS}/custom-deployment.yaml")
    setup.runtime.lasting.add("custom")
    setup.runtime.executed = lambda *_: (0, b"")
    await setup.apply(custom)
    await pass_by(setup, key(custom), 5)
    for _ in range(2):
        [name] = [one for one in setup.runtime.names() if "-custom-" in one]
        setup.runtime.lose(name)
        await pass_by(setup, key(custom), 20)
    assert setup.runtime.ran.count("custom") == 3
    setup.runtime.lasting.clear()
    await setup.settle(key(custom))
    assert (await stored(setup, custom)).status.revisions[0].phase == "Complete"


async def test_an_aborting_hook_leaves_what_serves_alone() -> None:
    setup = RolloutSetup()
    await setup.apply(config(GOOD))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    setup.calls.clear()
    setup.runtime.exits["pre"] = [1]

    hooked = config(BETTER, strategy={"rollingParams": {"pre": FAILS}})
    await change(setup, hooked)
    await setup.settle(key(hooked))

    assert moves(setup) == ["run pre"]
    assert setup.runtime.images() == [GOOD] * 2
    condition = await progressing(setup, hooked)
    assert condition.status == "False"
    assert "was given up: the pre hook: exited 1" in condition.message
    assert "revision 1" in condition.message

    setup.runtime.exits["pre"] = [0]
    await setup.actions.retry(DeploymentConfig, "shop", "db")
    await setup.settle(key(hooked))
    assert setup.runtime.images() == [BETTER] * 2
    assert (await stored(setup, hooked)).status.latest_version == 2


async def test_a_failed_post_hook_brings_the_old_version_back() -> None:
    setup = RolloutSetup()
    await setup.apply(config(GOOD))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    setup.runtime.exits["post"] = [7]

    hooked = config(BETTER, strategy={"rollingParams": {"post": FAILS}})
    await change(setup, hooked)
    await setup.settle(key(hooked))

    assert setup.runtime.images() == [GOOD] * 2


async def test_a_hook_that_aborts_the_first_rollout_leaves_nothing_running() -> None:
    setup = RolloutSetup()
    broken = deployment_config(f"{DEPLOYMENTS}/test-deployment-broken.yaml")
    setup.runtime.exits["pre"] = [1]
    await setup.apply(broken)
    await setup.settle(key(broken))

    assert setup.runtime.names() == []
    assert (await stored(setup, broken)).status.revisions[0].phase == "Failed"
    assert "nothing runs until `rollout retry`" in (await progressing(setup, broken)).message


async def test_a_retried_hook_runs_until_it_succeeds() -> None:
    setup = RolloutSetup()
    hooked = deployment_config(f"{DEPLOYMENTS}/failing-pre-hook.yaml")
    setup.runtime.exits["pre"] = [1, 1, 0]
    await setup.apply(hooked)
    told = set()
    for _ in range(60):
        wish = await setup.reconcile(key(hooked))
        setup.runtime.turn()
        setup.clock.advance(min(wish or 1, 5))
        condition = find((await stored(setup, hooked)).status.conditions, "Progressing")
        told.add(condition.message if condition else "")

    assert any("Retrying hook pod (retry #1)" in message for message in told)
    assert (await stored(setup, hooked)).status.revisions[0].hooks["pre"].retries == 2
    assert setup.runtime.images() == [GOOD]


async def test_a_hook_that_is_retried_in_vain_ends_with_the_active_deadline() -> None:
    setup = RolloutSetup()
    setup.runtime.exits["pre"] = [1]
    retry = {"execNewPod": {"command": ["migrate"]}, "failurePolicy": "Retry"}
    strategy = {"rollingParams": {"pre": retry}, "activeDeadlineSeconds": 700}
    hooked = config(GOOD, strategy=strategy)
    await setup.apply(hooked)
    await setup.settle(key(hooked), turns=3000, limit=5000)

    assert setup.runtime.names() == []
    assert "was not complete after 700 s" in (await progressing(setup, hooked)).message


async def test_an_ignored_hook_goes_on() -> None:
    setup = RolloutSetup()
    setup.runtime.exits["pre"] = [1]
    hooked = config(GOOD, strategy={"rollingParams": {"pre": {**FAILS, "failurePolicy": "Ignore"}}})
    await setup.apply(hooked)
    await setup.settle(key(hooked))

    assert setup.runtime.images() == [GOOD] * 2
    assert (await stored(setup, hooked)).status.revisions[0].hooks["pre"].phase == "Ignored"


async def test_a_post_hook_tags_what_was_deployed_and_a_test_leaves_nothing_running() -> None:
    setup = RolloutSetup()
    to = {"kind": "ImageStreamTag", "name": "sample-stream:deployed"}
    post = {"failurePolicy": "Ignore", "tagImages": [{"containerName": "app", "to": to}]}
    tagging = config(GOOD, test=True, strategy={"rollingParams": {"post": post}})
    await setup.apply(tagging)
    await setup.settle(key(tagging))

    stream = await setup.store.get(ImageStream, "shop", "sample-stream")
    assert [
        (tag.name, tag.from_ and (tag.from_.kind, tag.from_.name)) for tag in stream.spec.tags
    ] == [("deployed", ("DockerImage", GOOD))]
    assert setup.runtime.names() == []
    assert (await stored(setup, tagging)).status.revisions[0].phase == "Complete"


async def test_openshifts_test_deployment_ends_with_nothing_running() -> None:
    setup = RolloutSetup()
    tested = deployment_config(f"{DEPLOYMENTS}/test-deployment-test.yaml")
    await setup.apply(tested)
    await setup.settle(key(tested))

    assert {"run pre", "run 0", "run 1"} <= set(moves(setup))
    assert setup.runtime.names() == []


async def test_a_custom_command_rolls_out_half_and_then_all() -> None:
    setup = RolloutSetup()
    custom = deployment_config(f"{DEPLOYMENTS}/custom-deployment.yaml")
    said: Mapping[str, list[str]] = {"done": []}
    wish = ["50"]

    def executed(name: str, command: tuple[str, ...]) -> tuple[int, bytes]:
        assert name.endswith("-custom-1")
        if "cat " in command[-1]:
            return 0, wish[0].encode()
        said["done"].append(command[-1].split()[1])
        return 0, b""

    setup.runtime.lasting.add("custom")
    setup.runtime.executed = executed
    await setup.apply(custom)
    await pass_by(setup, key(custom), 30)
    assert len(setup.runtime.images()) == 1
    assert set(said["done"]) == {"50"}

    wish[0] = "100"
    await pass_by(setup, key(custom), 30)
    assert len(setup.runtime.images()) == 2
    assert (await stored(setup, custom)).status.revisions[0].phase == "Progressing"

    setup.runtime.lasting.clear()
    await setup.settle(key(custom))
    assert (await stored(setup, custom)).status.revisions[0].phase == "Complete"
    assert len(setup.runtime.names()) == 2


async def test_a_custom_command_that_fails_keeps_the_old_version() -> None:
    setup = RolloutSetup()
    await setup.apply(config(GOOD))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))
    setup.runtime.exits["custom"] = [2]
    strategy = {"type": "Custom", "customParams": {"command": ["deploy"]}}
    await change(setup, config(BETTER, strategy=strategy))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    assert setup.runtime.images() == [GOOD] * 2
    assert "the custom command: exited 2" in (await progressing(setup, config(GOOD))).message


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


async def push(setup: RolloutSetup, **tags: str) -> None:
    made = stream(**tags)
    known = [one for one in (await setup.store.list(ImageStream)).items if one.name == "test"]
    created = known[0] if known else await setup.store.create(made)
    await setup.store.update_status(created.with_status(made.status))


async def test_only_an_image_starts_what_has_no_trigger_for_changes() -> None:
    setup = RolloutSetup()
    triggered = deployment_config(f"{DEPLOYMENTS}/deployment-trigger.yaml", image="")
    await setup.apply(triggered)
    await setup.settle(key(triggered))
    assert (await stored(setup, triggered)).status.latest_version == 0

    await push(setup, v1=GOOD)
    await setup.settle(key(triggered))
    assert (await stored(setup, triggered)).status.latest_version == 1
    assert setup.runtime.images() == [GOOD]

    await push(setup, v1=GOOD, v2=BETTER)
    current = await stored(setup, triggered)
    params = (current.spec.triggers or ())[0].image_change_params
    assert params is not None
    source = params.from_.model_copy(update={"name": "test:v2"})
    moved = params.model_copy(update={"from_": source})
    triggers = (DeploymentTrigger(type="ImageChange", image_change_params=moved),)
    await setup.store.update(
        current.model_copy(update={"spec": current.spec.model_copy(update={"triggers": triggers})})
    )
    await setup.settle(key(triggered))
    status = (await stored(setup, triggered)).status
    assert status.latest_version == 2
    progressing = find(status.conditions, "Progressing")
    assert progressing is not None  # the reason that `oc rollout status` waits for
    assert progressing.reason == "NewReplicationControllerAvailable"
    assert status.details is not None
    assert status.details["message"] == "image change"
    assert setup.runtime.images() == [BETTER]


async def test_an_image_that_is_blanked_fifty_times_is_set_again() -> None:
    path = CORPUS / "extended/testdata/image/deployment-with-annotation-trigger.yaml"
    if not path.is_file():
        pytest.skip(f"no manifest {path} (set UPWELL_SHARED)")
    document = yaml.safe_load(path.read_text())
    document["metadata"]["namespace"] = "shop"
    setup = RolloutSetup()
    deployment = await setup.apply(decode_as(Deployment, document))
    await setup.settle(deployment.key)
    assert setup.runtime.names() == []

    await push(setup, v1=GOOD)
    await setup.settle(deployment.key)
    for _ in range(50):
        current = await setup.store.get(Deployment, "shop", "test")
        blank = {("test", False): " "}
        await setup.store.update(with_images(current, blank))
        await setup.settle(deployment.key)

    current = await setup.store.get(Deployment, "shop", "test")
    assert current.spec.template.spec.containers[0].image == GOOD
    assert [one.revision for one in current.status.revisions] == [1]
    assert setup.runtime.images() == [GOOD]


async def test_a_changed_variable_waits_where_only_images_trigger() -> None:
    setup = RolloutSetup()
    params = {
        "automatic": True,
        "containerNames": ["app"],
        "from": {"kind": "ImageStreamTag", "name": "test:v1"},
    }
    triggers = [{"type": "ImageChange", "imageChangeParams": params}]
    await push(setup, v1=GOOD)
    await setup.apply(config("", triggers=triggers))
    place = ObjectKey("DeploymentConfig", "shop", "db")
    await setup.settle(place)

    current = await stored(setup, config(GOOD))
    changed = config(GOOD, env="new", triggers=triggers)
    await setup.store.update(current.model_copy(update={"spec": changed.spec}))
    await setup.settle(place)
    assert (await stored(setup, changed)).status.latest_version == 1
    assert (await progressing(setup, changed)).reason == "ManualOnly"

    await setup.actions.latest(DeploymentConfig, "shop", "db", again=False)
    await setup.settle(place)
    assert (await stored(setup, changed)).status.latest_version == 2


async def test_a_paused_one_refuses_in_openshifts_words_and_goes_on_when_resumed() -> None:
    setup = RolloutSetup()
    paused = deployment_config(f"{DEPLOYMENTS}/paused-deployment.yaml")
    await setup.apply(paused)
    await setup.settle(key(paused))
    assert setup.runtime.names() == []
    status = (await stored(setup, paused)).status
    assert status.observed_generation == (await stored(setup, paused)).generation

    place = (DeploymentConfig, "shop", "paused")
    with pytest.raises(RolloutRefusedError, match="cannot deploy a paused deployment config"):
        await setup.actions.latest(*place, again=False)
    with pytest.raises(RolloutRefusedError, match="unable to cancel paused deployment"):
        await setup.actions.cancel(*place)
    with pytest.raises(RolloutRefusedError, match="unable to retry paused deployment config"):
        await setup.actions.retry(*place)
    with pytest.raises(RolloutRefusedError, match="cannot rollback a paused deployment config"):
        await setup.actions.roll_back(*place, 3, permit_all)

    current = await stored(setup, paused)
    spec = current.spec.model_copy(update={"paused": False})
    await setup.store.update(current.model_copy(update={"spec": spec}))
    await setup.settle(key(paused))
    assert setup.runtime.images() == [GOOD]


async def test_latest_replaces_every_instance_and_undo_goes_back_to_the_first() -> None:
    setup = RolloutSetup()
    tested = deployment_config(f"{DEPLOYMENTS}/generation-test.yaml")
    await setup.apply(tested)
    await setup.settle(key(tested))
    before = setup.runtime.names()

    await setup.actions.latest(DeploymentConfig, "shop", tested.name, again=False)
    await setup.settle(key(tested))
    status = (await stored(setup, tested)).status
    assert status.latest_version == 2
    progressing = find(status.conditions, "Progressing")
    assert progressing is not None  # the reason that `oc rollout status` waits for
    assert progressing.reason == "NewReplicationControllerAvailable"
    assert status.details is not None
    assert status.details["message"] == "manual change"
    second = setup.runtime.names()
    assert set(second).isdisjoint(before)

    await setup.actions.roll_back(DeploymentConfig, "shop", tested.name, 1, permit_all)
    await setup.settle(key(tested))
    undone = await stored(setup, tested)
    assert undone.status.latest_version == 3
    assert undone.status.details is not None
    assert undone.status.details["message"] == "rollback"
    assert [one.revision for one in undone.status.revisions] == [3, 2, 1]
    assert set(setup.runtime.names()).isdisjoint({*before, *second})
    assert HOLD_ANNOTATION in undone.annotations
    settled = setup.runtime.names()
    await setup.settle(key(tested))
    assert setup.runtime.names() == settled


async def test_a_rollout_is_cancelled_and_another_refused_while_it_goes_on() -> None:
    setup = RolloutSetup()
    await setup.apply(config(GOOD))
    place = ObjectKey("DeploymentConfig", "shop", "db")
    await setup.settle(place)
    await change(setup, config(HANGING))
    await pass_by(setup, place, 30)

    with pytest.raises(RolloutRefusedError, match=r"#2 is already in progress \(Running"):
        await setup.actions.latest(DeploymentConfig, "shop", "db", again=True)
    await setup.actions.cancel(DeploymentConfig, "shop", "db")
    await setup.settle(place)

    assert setup.runtime.images() == [GOOD] * 2
    record = (await stored(setup, config(GOOD))).status.revisions[0]
    assert (record.phase, record.message) == ("Failed", "revision 2 was cancelled by a person")
    with pytest.raises(RolloutRefusedError, match="rollout #2 is failed"):
        await setup.actions.cancel(DeploymentConfig, "shop", "db")


async def test_only_what_failed_is_retried() -> None:
    setup = RolloutSetup()
    await setup.apply(config(GOOD))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    with pytest.raises(RolloutRefusedError, match="only failed deployments can be"):
        await setup.actions.retry(DeploymentConfig, "shop", "db")


async def test_it_is_not_complete_before_its_instances_were_ready_for_long_enough() -> None:
    setup = RolloutSetup()
    slow = deployment_config(f"{DEPLOYMENTS}/deployment-min-ready-seconds.yaml")
    await setup.apply(slow)
    await pass_by(setup, key(slow), 30)
    assert len(setup.runtime.images()) == 2
    assert (await stored(setup, slow)).status.revisions[0].phase == "Progressing"

    await setup.settle(key(slow))
    assert (await stored(setup, slow)).status.revisions[0].phase == "Complete"


async def test_what_never_gets_ready_has_failed() -> None:
    setup = RolloutSetup()
    never = deployment_config(f"{DEPLOYMENTS}/readiness-test.yaml", HANGING)
    await setup.apply(never)
    await setup.settle(key(never), limit=200)

    assert (await stored(setup, never)).status.revisions[0].phase == "Failed"
    assert "made no progress for 30 s" in (await progressing(setup, never)).message


async def test_what_fails_after_its_pre_hook_falls_back_and_is_not_tried_again() -> None:
    setup = RolloutSetup()
    await setup.apply(deployment_config("testdata/failing-dc.yaml"))
    place = ObjectKey("DeploymentConfig", "shop", "failing-dc")
    await setup.settle(place)
    await change(setup, deployment_config("testdata/failing-dc.yaml", CRASHING))
    await setup.settle(place)
    assert setup.runtime.images() == [GOOD] * 2
    setup.calls.clear()

    await setup.settle(place, limit=7200)
    assert not [call for call in setup.calls if call.startswith("start")]


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
    setup = RolloutSetup()
    await setup.apply(config(GOOD, strategy={"rollingParams": {"pre": hook}}))
    await setup.settle(ObjectKey("DeploymentConfig", "shop", "db"))

    condition = await progressing(setup, config(GOOD))
    assert condition.reason == "InvalidHook"
    assert why in condition.message
