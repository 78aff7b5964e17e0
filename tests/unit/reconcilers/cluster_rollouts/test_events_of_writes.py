"""Events about images that were set or put back: told once, though who has written is gone."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.cluster.workloads import image, move_tag, workload
from tests.unit.reconcilers.cluster_rollouts.test_cluster_rollouts import (
    START,
    ClusterSetup,
    at_good,
    image_of,
)

from upwell.api.apps import Deployment
from upwell.cluster.errors import AccessDeniedError, ClusterUnavailableError
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, RolloutNote

MANY = 100
AWAY = ClusterUnavailableError("the connection was lost")


@pytest.fixture
def setup() -> ClusterSetup:
    return ClusterSetup()


async def written_and_untold(setup: ClusterSetup, reason: str) -> Deployment:
    """Let a reconciler write images, and stop before it tells of it."""
    stored = await at_good(setup, Deployment)
    await move_tag(setup.store, "bad")
    if reason == "RolledBack":
        stored = await setup.roll(stored)
        await setup.get_stuck(stored)
    setup.cluster.told.clear()
    setup.cluster.mute = AWAY
    await setup.reconcile(stored.key)
    setup.cluster.mute = None
    setup.reconciler = setup.restarted()
    return stored


@pytest.mark.parametrize("reason", ["ImageUpdated", "RolledBack"])
async def test_the_next_leader_tells_once_of_a_write_that_the_last_one_has_not_told(
    setup: ClusterSetup, reason: str
) -> None:
    stored = await written_and_untold(setup, reason)
    writes = setup.cluster.writes
    assert setup.reasons == []
    setup.clock.now += timedelta(minutes=5)
    for _ in range(2):
        await setup.roll(stored)
        setup.reconciler = setup.restarted()

    told = [one for one in setup.cluster.told if one.reason == reason]
    [found] = told
    assert found.is_warning == (reason == "RolledBack")
    assert found.at == RolloutNote.of(await setup.read(stored)).since
    assert f"app = {image('bad')}" in found.message
    assert setup.cluster.writes == writes


@pytest.mark.parametrize("reason", ["ImageUpdated", "RolledBack"])
async def test_what_was_told_is_asked_for_once_by_each_process(
    setup: ClusterSetup, reason: str
) -> None:
    stored = await written_and_untold(setup, reason)
    await setup.roll(stored)
    [before] = [one for one in setup.cluster.told if one.reason == reason]
    setup.reconciler = setup.restarted()
    asked = setup.cluster.events_asked
    for _ in range(3):
        await setup.reconcile(stored.key)

    assert [one for one in setup.cluster.told if one.reason == reason] == [before]
    others = len([one for one in setup.cluster.told if one.reason != reason])
    assert setup.cluster.events_asked - asked == 1 + others


async def test_an_event_that_would_be_gone_by_now_is_not_told(setup: ClusterSetup) -> None:
    stored = await written_and_untold(setup, "ImageUpdated")
    setup.clock.now += timedelta(hours=1)
    await setup.roll(stored)

    assert setup.reasons == []


async def test_no_event_is_owed_of_an_older_version(setup: ClusterSetup) -> None:
    stored = await written_and_untold(setup, "ImageUpdated")
    found = await setup.read(stored)
    note = replace(RolloutNote.of(found), changed=())
    annotations = {**found.annotations, NOTE_ANNOTATION: note.format()}
    await setup.store.update(found.with_metadata(annotations=annotations))
    await setup.roll(stored)

    assert setup.reasons == []


async def test_no_event_is_owed_of_a_copy_that_a_person_has_made(setup: ClusterSetup) -> None:
    found = await setup.read(await written_and_untold(setup, "ImageUpdated"))
    fields = workload(Deployment, "kubectl-create").metadata.managed_fields
    copy = found.with_metadata(name="copy", uid="", resource_version="", managed_fields=fields)
    copy = await setup.store.create(copy)
    await setup.reconcile(copy.key)

    assert "ImageUpdated" not in setup.reasons


async def test_an_event_is_tried_again_by_who_could_not_tell_it(setup: ClusterSetup) -> None:
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    setup.cluster.mute = AWAY
    await setup.reconcile(stored.key)
    setup.cluster.mute = None
    await setup.roll(stored)

    assert [(one.reason, one.at) for one in setup.cluster.told] == [("ImageUpdated", START)]


async def test_an_event_that_may_not_be_written_is_not_asked_for_at_each_change(
    setup: ClusterSetup,
) -> None:
    stored = await setup.store.create(workload(Deployment))
    await move_tag(setup.store, "good")
    setup.cluster.mute = AccessDeniedError('cannot create resource "events"')
    for _ in range(3):
        await setup.reconcile(stored.key)

    assert setup.cluster.events_asked == 1


async def test_the_same_image_that_comes_back_is_told_again(setup: ClusterSetup) -> None:
    stored = await at_good(setup, Deployment)
    for version in ("better", "good"):
        setup.clock.now += timedelta(minutes=1)
        await move_tag(setup.store, version)
        await setup.roll(stored)

    texts = [one.message for one in setup.cluster.told]
    assert texts == [f"set app = {image(one)}" for one in ("good", "better", "good")]


async def test_an_event_that_a_busy_cluster_does_not_take_is_tried_again(
    setup: ClusterSetup,
) -> None:
    stored = await written_and_untold(setup, "ImageUpdated")
    setup.cluster.mute = AWAY
    wait = (await setup.reconcile(stored.key)).requeue_after
    assert wait == 30.0
    setup.cluster.mute = None
    setup.clock.now += timedelta(seconds=wait)
    await setup.reconcile(stored.key)
    assert setup.reasons == ["ImageUpdated"]


async def test_no_event_waits_for_a_clock_that_was_ahead(setup: ClusterSetup) -> None:
    await move_tag(setup.store, "good")
    fleet = [await setup.store.create(workload(Deployment, name=name)) for name in ("a", "b", "c")]
    setup.clock.now += timedelta(minutes=30)
    for one in fleet:
        await setup.reconcile(one.key)
    setup.cluster.told.clear()
    setup.reconciler = setup.restarted()
    for one in fleet:
        await setup.reconcile(one.key)

    setup.clock.now -= timedelta(minutes=30)
    waits = [(await setup.reconcile(one.key)).requeue_after for one in fleet[1:]]
    assert waits == [pytest.approx(0.1)] * 2
    await setup.store.delete(Deployment, fleet[1].namespace, fleet[1].name)
    await setup.reconcile(fleet[1].key)
    assert (await setup.reconcile(fleet[2].key)).requeue_after == pytest.approx(0.05)


async def test_events_that_a_fleet_is_owed_are_paced_and_keep_no_image_waiting(
    setup: ClusterSetup,
) -> None:
    await move_tag(setup.store, "good")
    fleet = [
        await setup.store.create(workload(Deployment, name=f"web-{number}"))
        for number in range(MANY)
    ]
    setup.cluster.mute = AWAY
    for one in fleet:
        await setup.reconcile(one.key)
    setup.cluster.mute = None
    setup.reconciler = setup.restarted()
    asked = setup.cluster.events_asked

    waits = [(await setup.reconcile(one.key)).requeue_after or 0.0 for one in fleet]
    assert setup.cluster.events_asked - asked == 1
    assert max(waits) == pytest.approx((MANY - 1) / 20)

    *others, last = fleet
    await move_tag(setup.store, "better")
    await setup.reconcile(last.key)
    assert image_of(await setup.read(last)) == image("better")
    texts = [f"set app = {image(one)}" for one in ("good", "better")]
    assert [one.message for one in setup.cluster.told if one.workload.key == last.key] == texts

    setup.clock.now += timedelta(seconds=MANY / 20)
    for one in others:
        await setup.reconcile(one.key)
    told = Counter(one.workload.key for one in setup.cluster.told if one.message == texts[0])
    assert told == dict.fromkeys((one.key for one in fleet), 1)
