"""A Deployment from its first rollout to its end, over a store, a runtime and a router."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import BETTER, CRASHING, GOOD, HANGING, RolloutSetup
from tests.support.store.mortal_store import KilledError

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as, encode
from upwell.api.conditions import find
from upwell.api.core import ConfigMap, Secret, Service
from upwell.api.meta import Condition, ObjectKey
from upwell.oci import Digest
from upwell.policy.rollouts.rollout import UNPROBED_MIN_READY
from upwell.policy.rollouts.settings import DRAIN_ANNOTATION
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.reconcilers.rollouts import FINALIZER
from upwell.router.interface import RouterUnavailableError
from upwell.workload.errors import ForbiddenError, ImagePullError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import State

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
async def setup() -> RolloutSetup:
    setup = RolloutSetup()
    await setup.apply(service())
    return setup


async def stored(setup: RolloutSetup) -> Deployment:
    return await setup.store.get(Deployment, "shop", "web")


async def condition(setup: RolloutSetup, kind: str) -> Condition:
    found = find((await stored(setup)).status.conditions, kind)
    assert found is not None
    return found


async def change(setup: RolloutSetup, new: Deployment) -> None:
    """Apply another spec as a person does; metadata and status stay."""
    current = await stored(setup)
    await setup.store.update(current.model_copy(update={"spec": new.spec}))


async def rolled_out(setup: RolloutSetup, image: str = GOOD, replicas: int = 1) -> None:
    await setup.apply(deployment(image, replicas))
    await setup.settle(KEY)
    assert setup.runtime.images() == [image] * replicas


async def pass_time(setup: RolloutSetup, seconds: int) -> None:
    """Let time pass in small pieces: what ends meanwhile is seen as a runtime tells of it."""
    for _ in range(seconds):
        setup.clock.advance(1)
        for _ in range(3):
            await setup.reconcile(KEY)
            setup.runtime.turn()


async def test_what_a_power_cut_ended_serves_again_and_the_new_revision_goes_on(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup, replicas=2)
    await change(setup, deployment(HANGING, 2, progressDeadlineSeconds=40))
    await pass_time(setup, 30)
    (hanging,) = set(setup.runtime.names()) - {*setup.router.targets()}
    for name in setup.runtime.names():
        setup.runtime.lose(name)
    setup.restart()
    setup.clock.advance(3600)
    setup.runtime.watched_since = setup.clock()
    await pass_time(setup, 30)

    assert len(setup.router.targets()) == 2
    assert hanging in setup.runtime.names()
    assert [one.phase for one in (await stored(setup)).status.revisions] == [
        "Progressing",
        "Complete",
    ]
    assert {one.restarts for one in setup.runtime.observed()} == {0}
    await setup.settle(KEY)
    assert (await stored(setup)).status.revisions[0].phase == "Failed"


async def test_the_first_rollout_serves_and_says_so(setup: RolloutSetup) -> None:
    await rolled_out(setup, replicas=2)

    status = (await stored(setup)).status
    assert (status.replicas, status.ready_replicas, status.updated_replicas) == (2, 2, 2)
    assert (status.available_replicas, status.unavailable_replicas) == (2, 0)
    assert status.observed_generation == 1
    assert (await condition(setup, "Available")).is_true
    assert (await condition(setup, "Progressing")).reason == "NewReplicaSetAvailable"
    assert [(one.revision, one.phase) for one in status.revisions] == [(1, "Complete")]
    assert status.revisions[0].images == {"app": GOOD}
    assert status.revisions[0].live_at is not None
    assert len(setup.router.targets()) == 2


async def test_names_are_deterministic(setup: RolloutSetup) -> None:
    await rolled_out(setup)

    revision = (await stored(setup)).status.revisions[0].hash
    assert setup.runtime.names() == [f"upwell-shop-deploy-web-{revision[:8]}-0"]


async def test_a_new_image_replaces_the_old_one_without_a_failed_request(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup, replicas=3)

    await change(setup, deployment(BETTER, 3))
    await setup.settle(KEY)

    assert setup.runtime.images() == [BETTER] * 3
    assert setup.failed_requests == []
    records = (await stored(setup)).status.revisions
    assert [(one.revision, one.phase, one.cause) for one in records] == [
        (2, "Complete", "image change"),
        (1, "Complete", "config change"),
    ]


async def test_a_settled_deployment_writes_nothing(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    before = (await stored(setup)).resource_version

    for _ in range(3):
        await setup.reconcile(KEY)
        setup.clock.advance(100)

    assert (await stored(setup)).resource_version == before


async def test_an_old_instance_finishes_its_requests_before_it_is_stopped(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    (old,) = setup.runtime.names()
    setup.router.open_sessions[old] = 1
    await change(setup, deployment(BETTER))

    await setup.settle(KEY, limit=25)

    assert old in setup.runtime.names()
    assert old not in setup.router.targets()
    setup.router.open_sessions.clear()
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]


async def test_an_old_instance_stays_while_the_router_does_not_say_its_sessions(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    (old,) = setup.runtime.names()
    setup.router.silence = RouterUnavailableError("no answer")
    await change(setup, deployment(BETTER))

    await setup.settle(KEY, limit=25)

    assert old in setup.runtime.names()
    setup.router.silence = None
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]


@pytest.mark.parametrize(("annotations", "seconds"), [({}, 30), ({DRAIN_ANNOTATION: "5"}, 5)])
async def test_a_connection_that_never_ends_is_cut_off_when_its_time_is_over(
    setup: RolloutSetup, annotations: dict[str, str], seconds: int
) -> None:
    await rolled_out(setup)
    (old,) = setup.runtime.names()
    setup.router.open_sessions[old] = 1
    began = setup.clock()
    await setup.store.update((await stored(setup)).with_metadata(annotations=annotations))
    await change(setup, deployment(BETTER))

    await setup.settle(KEY, turns=1000)

    assert setup.runtime.images() == [BETTER]
    taken = (setup.clock() - began).total_seconds()
    up = UNPROBED_MIN_READY.total_seconds()
    assert seconds + up <= taken < seconds + up + 3


async def test_a_drain_that_cannot_be_understood_is_reported_and_changes_nothing(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    unclear = {DRAIN_ANNOTATION: "soon"}
    await setup.store.update((await stored(setup)).with_metadata(annotations=unclear))
    await change(setup, deployment(BETTER))
    await setup.settle(KEY)

    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "InvalidAnnotation")
    assert setup.runtime.images() == [GOOD]
    await setup.store.delete(Deployment, "shop", "web")
    await setup.settle(KEY)
    assert setup.runtime.names() == []


@pytest.mark.parametrize(
    ("image", "why"), [(CRASHING, "no database"), (HANGING, "last line of upwell-shop-deploy-web")]
)
async def test_a_broken_image_is_rolled_back_while_the_old_one_serves(
    setup: RolloutSetup, image: str, why: str
) -> None:
    await rolled_out(setup)
    (old,) = setup.runtime.names()

    await change(setup, deployment(image))
    await setup.settle(KEY)

    assert setup.runtime.names() == [old]
    assert setup.router.targets() == {old}
    assert setup.failed_requests == []
    status = (await stored(setup)).status
    assert status.failed_hash == status.revisions[0].hash
    assert [one.phase for one in status.revisions] == ["Failed", "Complete"]
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    for part in (image, why, "revision 1", GOOD, "serves instead", "revision 2 is not tried again"):
        assert part in progressing.message
    assert (await condition(setup, "RolledBack")).is_true
    assert (await condition(setup, "Available")).is_true


async def test_an_image_that_ends_after_a_second_never_takes_the_place_of_one_that_works(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    setup.runtime.lifetimes[BETTER] = 1

    await change(setup, deployment(BETTER))
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]
    assert [one.phase for one in (await stored(setup)).status.revisions] == ["Failed", "Complete"]
    rolled_back = await condition(setup, "RolledBack")
    assert rolled_back.is_true
    assert "ended again and again: container app exited 3: no database" in rolled_back.message
    assert "revision 1" in rolled_back.message
    assert not setup.failed_requests


async def test_an_image_that_crashes_soon_after_it_was_complete_is_rolled_back(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    setup.runtime.lifetimes[BETTER] = 20
    await change(setup, deployment(BETTER))

    await pass_time(setup, 90)

    assert setup.runtime.images() == [GOOD]
    newest, good = (await stored(setup)).status.revisions
    assert newest.completed_at is not None
    assert (newest.phase, good.phase) == ("Failed", "Complete")
    rolled_back = await condition(setup, "RolledBack")
    assert "no database" in rolled_back.message
    assert "revision 1" in rolled_back.message


async def test_an_image_that_crashes_long_after_it_was_complete_stays(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    await change(setup, deployment(BETTER))
    await setup.settle(KEY)
    setup.clock.advance(601)
    setup.runtime.lifetimes[BETTER] = 20

    await pass_time(setup, 90)

    assert setup.runtime.images() == [BETTER]
    assert (await stored(setup)).status.revisions[0].phase == "Complete"


async def test_what_a_person_holds_is_not_rolled_back_when_it_crashes(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    await change(setup, deployment(BETTER))
    await setup.settle(KEY)
    held = (await stored(setup)).with_metadata(annotations={HOLD_ANNOTATION: "we look at it"})
    await setup.store.update(held)
    setup.runtime.lifetimes[BETTER] = 20

    await pass_time(setup, 90)

    assert setup.runtime.images() == [BETTER]


async def test_two_revisions_that_crash_do_not_take_turns(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    await change(setup, deployment(BETTER))
    await setup.settle(KEY)
    setup.runtime.lifetimes = {GOOD: 20, BETTER: 20}

    await pass_time(setup, 300)

    assert setup.runtime.images() == [GOOD]
    assert [one.phase for one in (await stored(setup)).status.revisions] == ["Failed", "Complete"]


async def test_a_first_image_that_ends_after_a_second_is_never_complete(
    setup: RolloutSetup,
) -> None:
    setup.runtime.lifetimes[BETTER] = 1
    await setup.apply(deployment(BETTER))

    await setup.settle(KEY, limit=1200)

    (revision,) = (await stored(setup)).status.revisions
    assert revision.phase == "Failed"
    assert (await condition(setup, "Available")).status == "False"
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    assert "no database" in progressing.message


async def test_a_failed_image_is_not_tried_again_until_the_template_changes(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    await change(setup, deployment(CRASHING))
    await setup.settle(KEY)
    starts = len([call for call in setup.calls if call.startswith("start")])

    for _ in range(5):
        setup.clock.advance(600)
        await setup.settle(KEY)
    assert len([call for call in setup.calls if call.startswith("start")]) == starts

    await change(setup, deployment(BETTER))
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]
    assert (await stored(setup)).status.failed_hash is None
    assert find((await stored(setup)).status.conditions, "RolledBack") is None


async def test_a_failed_image_is_tried_again_when_the_template_comes_back_to_it(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    await change(setup, deployment(CRASHING))
    await setup.settle(KEY)
    await change(setup, deployment(GOOD))
    await setup.settle(KEY)
    starts = len([call for call in setup.calls if call.startswith("start")])

    await change(setup, deployment(CRASHING))
    await setup.settle(KEY)

    assert len([call for call in setup.calls if call.startswith("start")]) == starts + 3
    assert setup.runtime.images() == [GOOD]


async def test_a_first_rollout_that_fails_says_that_nothing_can_be_fallen_back_on(
    setup: RolloutSetup,
) -> None:
    await setup.apply(deployment(CRASHING))
    await setup.settle(KEY, limit=120)

    progressing = await condition(setup, "Progressing")
    assert progressing.reason == "ProgressDeadlineExceeded"
    assert "no earlier revision" in progressing.message
    before = len(setup.calls)
    await setup.settle(KEY, limit=700)
    assert len(setup.calls) > before  # it is tried on, with backoff


async def test_an_image_that_cannot_be_pulled_is_rolled_back_with_the_reason(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    setup.runtime.failures[BETTER] = ImagePullError("registry.test answered 500")

    await change(setup, deployment(BETTER))
    for _ in range(4):
        await setup.reconcile(KEY)
    assert (await condition(setup, "Progressing")).reason == "ImagePullFailed"
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]
    assert "answered 500" in (await condition(setup, "RolledBack")).message


async def test_what_the_administrator_forbids_is_rolled_back_at_once(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    setup.runtime.failures[BETTER] = ForbiddenError("host path /etc is not allowed")

    await change(setup, deployment(BETTER))
    await setup.settle(KEY, limit=10)

    assert "host path /etc" in (await condition(setup, "RolledBack")).message


async def test_a_crashed_instance_is_started_again_after_its_backoff(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    (name,) = setup.runtime.names()

    setup.runtime.end(name)
    await setup.settle(KEY)

    _, instance = setup.runtime.running[name]
    assert (instance.state, instance.ready, instance.restarts) == (State.RUNNING, True, 1)


async def test_after_a_power_cut_no_backoff_of_before_it_is_left(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    (name,) = setup.runtime.names()
    for _ in range(6):
        setup.clock.advance(400)
        setup.runtime.end(name)
        await setup.reconcile(KEY)
    setup.clock.advance(1)
    setup.runtime.end(name)
    await setup.reconcile(KEY)
    assert setup.runtime.running[name][1].state is State.EXITED

    setup.restart()
    await setup.reconcile(KEY)
    assert setup.runtime.running[name][1].state is State.RUNNING
    setup.clock.advance(1)
    setup.runtime.end(name)
    await setup.reconcile(KEY)
    assert setup.runtime.running[name][1].state is State.EXITED, "what ends again waits again"


async def test_scaling_up_and_down(setup: RolloutSetup) -> None:
    await rolled_out(setup)

    await change(setup, deployment(GOOD, 3))
    await setup.settle(KEY)
    assert len(setup.router.targets()) == 3

    await change(setup, deployment(GOOD, 0))
    await setup.settle(KEY)
    assert setup.runtime.names() == []
    assert setup.failed_requests == []
    assert len((await stored(setup)).status.revisions) == 1


async def test_a_paused_deployment_keeps_what_it_has(setup: RolloutSetup) -> None:
    await rolled_out(setup)

    await change(setup, deployment(BETTER, 2, paused=True))
    await setup.settle(KEY)
    assert setup.runtime.images() == [GOOD, GOOD]
    assert (await condition(setup, "Progressing")).reason == "DeploymentPaused"

    await change(setup, deployment(BETTER, 2))
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER, BETTER]


async def test_recreate_never_runs_two_revisions_at_once(setup: RolloutSetup) -> None:
    recreate: dict[str, Any] = {"strategy": {"type": "Recreate"}}
    await setup.apply(deployment(GOOD, **recreate))
    await setup.settle(KEY)

    await change(setup, deployment(BETTER, **recreate))
    await setup.settle(KEY)

    (old,) = [call for call in setup.calls if call.startswith("stop")]
    starts = [call for call in setup.calls if call.startswith("start")]
    assert setup.calls.index(old) < setup.calls.index(starts[-1])
    assert setup.runtime.images() == [BETTER]


async def test_a_blank_image_waits_and_says_for_what(setup: RolloutSetup) -> None:
    await setup.apply(deployment(" "))
    await setup.settle(KEY)

    assert setup.runtime.names() == []
    progressing = await condition(setup, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "ImageNotResolved")
    assert "container app has no image" in progressing.message


async def test_a_placeholder_applied_again_changes_nothing_that_runs(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    before = setup.runtime.names()

    await change(setup, deployment(" "))
    await setup.settle(KEY)

    assert setup.runtime.names() == before
    assert (await condition(setup, "Available")).is_true


async def test_a_missing_secret_is_named_and_waited_for(setup: RolloutSetup) -> None:
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
        {"name": "URL", "value": "http://$(TOKEN)@x"},
    ]
    await setup.apply(deployment(GOOD, container={"env": env}))
    await setup.settle(KEY)
    progressing = await condition(setup, "Progressing")
    assert progressing.reason == "SecretNotFound"
    assert "'api'" in progressing.message

    secret = Secret(data=Secret.encode_values({"token": b"s3"}))
    await setup.apply(secret.with_metadata(namespace="shop", name="api"))
    await setup.settle(KEY)

    ((spec, _),) = setup.runtime.running.values()
    assert spec.containers[0].env == {"TOKEN": "s3", "URL": "http://s3@x"}
    assert "s3" not in repr(spec)


async def test_changing_a_config_map_restarts_nothing(setup: RolloutSetup) -> None:
    source = [{"configMapRef": {"name": "settings"}}]
    config = ConfigMap(data={"COLOUR": "red"}).with_metadata(namespace="shop", name="settings")
    config = await setup.apply(config)
    await setup.apply(deployment(GOOD, container={"envFrom": source}))
    await setup.settle(KEY)
    calls = list(setup.calls)

    await setup.store.update(config.model_copy(update={"data": {"COLOUR": "blue"}}))
    await setup.settle(KEY)

    assert setup.calls == calls


async def test_a_tag_is_pinned_once_for_all_replicas_of_a_revision(setup: RolloutSetup) -> None:
    tag = "registry.test/app:1"
    setup.registry.tagged[tag] = Digest.of(b"good")
    await setup.apply(deployment(tag))
    await setup.settle(KEY)
    setup.registry.tagged[tag] = Digest.of(b"better")

    await change(setup, deployment(tag, 2))
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD, GOOD]


async def test_a_tag_that_does_not_exist_yet_is_asked_for_again(setup: RolloutSetup) -> None:
    tag = "registry.test/app:1"
    await setup.apply(deployment(tag))
    wish = await setup.reconcile(KEY)
    assert wish is not None
    assert (await condition(setup, "Progressing")).reason == "ManifestUnknown"

    setup.registry.tagged[tag] = Digest.of(b"good")
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]


async def test_only_as_many_old_revisions_are_kept_as_wanted(setup: RolloutSetup) -> None:
    await setup.apply(deployment(GOOD, revisionHistoryLimit=1))
    await setup.settle(KEY)
    for number in range(3):
        image = f"registry.test/app@{Digest.of(str(number).encode())}"
        await change(setup, deployment(image, revisionHistoryLimit=1))
        await setup.settle(KEY)

    assert [one.revision for one in (await stored(setup)).status.revisions] == [4, 3]


async def test_deletion_drains_and_stops_before_the_object_goes(setup: RolloutSetup) -> None:
    await rolled_out(setup, replicas=2)
    assert FINALIZER in (await stored(setup)).metadata.finalizers

    await setup.store.delete(Deployment, "shop", "web")
    await setup.settle(KEY)

    assert setup.runtime.names() == []
    assert setup.failed_requests == []
    assert not (await setup.store.list(Deployment)).items


async def test_what_a_deletion_left_is_stopped(setup: RolloutSetup) -> None:
    await rolled_out(setup)
    setup.store = RolloutSetup().store  # of the same timeline: so the owner was deleted
    setup.restart()

    await setup.settle(KEY)

    assert setup.runtime.names() == []


async def test_nothing_is_stopped_because_the_store_has_lost_its_owner(
    setup: RolloutSetup,
) -> None:
    await rolled_out(setup)
    before = setup.runtime.names()
    setup.store, setup.timeline = RolloutSetup().store, "another"
    setup.restart()

    await setup.settle(KEY)

    assert setup.runtime.names() == before


@pytest.mark.parametrize("image", [BETTER, CRASHING])
@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_kill_at_any_call_changes_nothing_in_the_end(image: str, replicas: int) -> None:
    undisturbed = RolloutSetup()
    await _roll_over(undisturbed, image, replicas)
    for kill_at in range(1, len(undisturbed.calls) + 1):
        setup = RolloutSetup()
        setup.kill_at = kill_at
        await _roll_over(setup, image, replicas)

        assert setup.kills == 1
        assert setup.runtime.names() == undisturbed.runtime.names()
        assert setup.router.table == undisturbed.router.table
        assert setup.failed_requests == []


async def _roll_over(setup: RolloutSetup, image: str, replicas: int) -> None:
    await setup.apply(service())
    await setup.apply(deployment(GOOD, replicas))
    await _survive(setup)
    await change(setup, deployment(image, replicas))
    await _survive(setup)


async def _survive(setup: RolloutSetup) -> None:
    """Settle, with a new process whenever the old one is killed."""
    while True:
        try:
            return await setup.settle(KEY)
        except KilledError:
            setup.restart()
        except BaseExceptionGroup:  # a TaskGroup wraps what kills one of its tasks
            setup.restart()


VOLUME = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "pg"}}


def database(image: str) -> Deployment:
    made = encode(deployment(image, container=VOLUME))
    made["spec"]["template"]["spec"]["volumes"] = [CLAIM]
    return decode_as(Deployment, made)


def overlaps(calls: Sequence[str]) -> bool:
    """Say whether an instance was run while another had not been stopped."""
    running: set[str] = set()
    for call in calls:
        verb, _, name = call.partition(" ")
        if verb == "run":
            running.add(name)
            if len(running) > 1:
                return True
        if verb == "stop":
            running.discard(name)
    return False


@pytest.mark.parametrize("declared", [False, True], ids=["claim", "image"])
@pytest.mark.parametrize("image", [BETTER, CRASHING], ids=["works", "crashes"])
async def test_two_revisions_never_write_one_volume_at_once(
    setup: RolloutSetup, image: str, *, declared: bool
) -> None:
    make = deployment if declared else database
    setup.runtime.volumes = {one: ("/data",) for one in (GOOD, BETTER, CRASHING) if declared}
    await setup.apply(make(GOOD))
    await setup.settle(KEY)
    before = await condition(setup, "StopsBeforeStart")

    await change(setup, make(image))
    await setup.settle(KEY)

    assert not overlaps(setup.calls)
    assert setup.runtime.images() == [GOOD if image == CRASHING else BETTER]
    assert (before.status, before.reason) == ("True", "VolumeIsWritten")


async def test_what_serves_is_not_stopped_before_the_new_image_is_there(
    setup: RolloutSetup,
) -> None:
    await setup.apply(database(GOOD))
    await setup.settle(KEY)
    setup.runtime.slow.add(BETTER)

    await change(setup, database(BETTER))
    for _ in range(5):
        await setup.reconcile(KEY)
    assert setup.runtime.images() == [GOOD]
    assert (await condition(setup, "Available")).is_true
    progressing = await condition(setup, "Progressing")
    assert progressing.reason == "ImagePulling"
    assert f"before the old instance is stopped: pulling image {BETTER}" in progressing.message

    setup.runtime.slow.clear()
    await setup.settle(KEY)
    assert setup.runtime.images() == [BETTER]


async def test_an_image_that_cannot_be_pulled_stops_nothing(setup: RolloutSetup) -> None:
    await setup.apply(database(GOOD))
    await setup.settle(KEY)
    setup.runtime.failures[BETTER] = ImagePullError("cannot pull: denied")

    await change(setup, database(BETTER))
    await setup.settle(KEY)

    assert setup.runtime.images() == [GOOD]
    assert not [call for call in setup.calls if call.startswith("stop")]
    assert "cannot pull: denied" in (await condition(setup, "Progressing")).message


async def test_volumes_are_released_with_their_workload(setup: RolloutSetup) -> None:
    await setup.apply(database(GOOD))
    await setup.settle(KEY)
    assert setup.runtime.released == []

    await setup.store.delete(Deployment, "shop", "web")
    await setup.settle(KEY)

    assert setup.runtime.released == [Owner("Deployment", "shop", "web")]
