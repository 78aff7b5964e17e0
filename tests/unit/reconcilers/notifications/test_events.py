"""Events that follow from statuses: told once, counted when repeated, bounded."""

import logging
from datetime import datetime, timedelta

import pytest
from tests.support.rollouts.memory_machine import BETTER, CRASHING, GOOD, RolloutSetup
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import KEY, deployment

from upwell.api.codec import decode_as
from upwell.api.core import Event
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, format_time
from upwell.controller import ObjectCache
from upwell.policy.images.outcome import with_next_attempt
from upwell.reconcilers.notifications.events import EventReconciler
from upwell.store.interface import NotFoundError

STREAM = ObjectKey("ImageStream", "shop", "base")


async def told(setup: RolloutSetup, key: ObjectKey = KEY) -> list[Event]:
    await EventReconciler(ObjectCache(setup.store), setup.clock).reconcile(key)
    events = (await setup.store.list(Event)).items
    return sorted(events, key=lambda one: (one.first_timestamp or setup.clock(), one.reason))


async def change(setup: RolloutSetup, image: str) -> None:
    current = await setup.store.get(type(deployment(GOOD)), "shop", "web")
    await setup.store.update(current.model_copy(update={"spec": deployment(image).spec}))
    await setup.settle(KEY)


async def test_a_rollout_and_its_rollback_are_told_once() -> None:
    setup = RolloutSetup()
    await setup.apply(deployment(GOOD))
    await setup.settle(KEY)
    setup.clock.advance(60)
    await change(setup, BETTER)
    setup.clock.advance(60)
    await change(setup, CRASHING)

    events = await told(setup)
    assert await told(setup) == events
    reasons = [event.reason for event in events]
    assert reasons.count("RolloutStarted") == 1
    assert reasons.count("RolloutComplete") == 2
    assert reasons.count("TriggerFired") == 2
    [back] = [event for event in events if event.reason == "RolledBack"]
    assert back.type == "Warning"
    assert "no database" in back.message
    assert (back.involved_object.kind, back.involved_object.name) == ("Deployment", "web")


async def test_the_log_tells_the_same_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    setup = RolloutSetup()
    await setup.apply(deployment(GOOD))
    await setup.settle(KEY)
    await told(setup)
    await told(setup)

    lines = [vars(one) for one in caplog.records if one.message == "event"]
    assert [one["object"] for one in lines if one["reason"] == "RolloutComplete"] == ["web"]


async def test_a_cluster_that_keeps_whole_seconds_is_told_once() -> None:
    """Times of Events have no fractions there (meta/v1 Time)."""
    setup = RolloutSetup()
    setup.clock.advance(0.25)
    await setup.apply(deployment(GOOD))
    await setup.settle(KEY)
    for event in await told(setup):
        assert event.last_timestamp is not None
        seconds = event.last_timestamp.replace(microsecond=0)
        kept = event.model_copy(update={"first_timestamp": seconds, "last_timestamp": seconds})
        await setup.store.update(kept)

    assert {event.count for event in await told(setup)} == {1}


async def test_the_same_thing_later_is_counted() -> None:
    setup = RolloutSetup()
    created = await setup.apply(deployment(GOOD))
    for _ in range(3):
        current = await setup.store.get(type(created), "shop", "web")
        condition = {
            "type": "Drifted",
            "status": "True",
            "message": "instance web-0 was made by hand",
            "lastTransitionTime": setup.clock().isoformat().replace("+00:00", "Z"),
        }
        document = {"metadata": {"name": "web"}, "status": {"conditions": [condition]}}
        await setup.store.update_status(
            current.with_status(decode_as(type(created), document).status)
        )
        await told(setup)
        setup.clock.advance(60)

    [event] = await told(setup)
    assert (event.count, event.reason) == (3, "Drifted")
    assert event.last_timestamp is not None
    assert event.first_timestamp is not None
    assert event.last_timestamp - event.first_timestamp == timedelta(seconds=120)


async def test_each_attempt_of_an_import_that_fails_alike_is_counted() -> None:
    setup = RolloutSetup()
    begun = setup.clock()
    for _ in range(3):
        setup.clock.advance(60)
        now = setup.clock()
        await fail_import(setup, begun, now, with_next_attempt("no such tag", now))
        await told(setup, STREAM)

    [event] = await told(setup, STREAM)
    assert (event.count, event.reason, event.message) == (3, "ImportFailed", "tag 12: no such tag")
    assert event.last_timestamp == setup.clock()


async def fail_import(setup: RolloutSetup, begun: datetime, now: datetime, message: str) -> None:
    """Record in stream `base` that the import of its tag failed at `now`, as since `begun`."""
    condition = {
        "type": "ImportSuccess",
        "status": "False",
        "message": message,
        "lastTransitionTime": format_time(begun),
    }
    state = {"source": "vendor.test/base:12", "lastCheckTime": format_time(now)}
    entry = {"tag": "12", "conditions": [condition], "importState": state}
    metadata = {"name": "base", "namespace": "shop"}
    wanted = decode_as(ImageStream, {"metadata": metadata, "status": {"tags": [entry]}})
    try:
        stored = await setup.store.get(ImageStream, "shop", "base")
    except NotFoundError:
        stored = await setup.store.create(wanted)
    await setup.store.update_status(stored.with_status(wanted.status))


async def test_old_events_go() -> None:
    setup = RolloutSetup()
    await setup.apply(deployment(GOOD))
    await setup.settle(KEY)
    assert await told(setup)
    setup.clock.advance(25 * 3600)
    await EventReconciler(ObjectCache(setup.store), setup.clock).remove_old()

    assert await told(setup) == []
