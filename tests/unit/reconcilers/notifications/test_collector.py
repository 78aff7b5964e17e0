"""Filters by which events are judged while they change, and how often they are asked for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.notifications.notifier_setup import DEADLINE, SOURCE, NotifierSetup

from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.subscription import Subscription
from upwell.controller import ObjectCache
from upwell.delivery.sqlite import SqliteOutbox
from upwell.policy.rollouts.starts.takeover import UNTIL_ANNOTATION
from upwell.reconcilers.notifications.collector import EventCollector, event_collector_controller
from upwell.store.interface import EVERYTHING, Selector


async def test_an_event_that_comes_after_a_filter_is_widened_is_judged_by_the_wider_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe(filter={"types": ["dev.upwell.build.*"]})
    await setup.push("sha256:a")
    listed = setup.store.list
    moved: list[str] = []

    async def slowly(kind: type[Any], selector: Selector = EVERYTHING) -> Any:
        if kind is ImageStream and not moved:
            moved.append("base")
            await setup.change("ci", webhook={"url": "http://ci.test/"})
            await setup.push("sha256:b")
        return await listed(kind, selector)

    monkeypatch.setattr(setup.store, "list", slowly)
    outbox = SqliteOutbox(tmp_path / "deliveries.db")
    try:
        collector = EventCollector(
            ObjectCache(setup.store), outbox, SOURCE, lambda: setup.now, lambda: None
        )
        await collector.reconcile(ObjectKey("ImageStream", "shop", "base"))
        subscription = await setup.store.get(Subscription, "shop", "ci")
        told = []
        while due := outbox.next_due(subscription.uid, 1):  # in order within a subject
            told.append(json.loads(due[0].envelope.body)["data"]["new"])
            outbox.delivered(due[0], setup.now)
        assert told == ["sha256:a", "sha256:b"]
    finally:
        outbox.close()


def _noted(
    ask: Callable[..., Awaitable[Any]], verb: str, asked: list[tuple[str, str]]
) -> Callable[..., Awaitable[Any]]:
    async def noted(kind: type[Any], *args: Any) -> Any:
        asked.append((verb, kind.KIND.kind))
        return await ask(kind, *args)

    return noted


async def test_one_list_of_subscriptions_serves_all_that_has_changed_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe()
    for number in range(20):
        await setup.push("sha256:a", f"base-{number}")
        await setup.store.create(
            Service(metadata=ObjectMeta(name=f"well-{number}", namespace="shop"))
        )
    asked: list[tuple[str, str]] = []
    for verb in ("get", "list"):
        monkeypatch.setattr(setup.store, verb, _noted(getattr(setup.store, verb), verb, asked))
    outbox = SqliteOutbox(tmp_path / "deliveries.db")
    cache, told = ObjectCache(setup.store), asyncio.Semaphore(0)
    collector = EventCollector(cache, outbox, SOURCE, lambda: setup.now, told.release)
    terms = event_collector_controller(collector, cache)
    caching = asyncio.create_task(cache.run())
    try:
        async with asyncio.timeout(DEADLINE):
            first = asyncio.create_task(terms.run())
            for _ in range(20):
                await told.acquire()
            first.cancel()
            await asyncio.wait({first})
            second = asyncio.create_task(terms.run())
            await setup.push("sha256:b", "base-7")
            await told.acquire()
            second.cancel()
            await asyncio.wait({second})
    finally:
        caching.cancel()
        await asyncio.wait({caching})
        outbox.close()
    assert asked.count(("list", "Subscription")) in {2, 3}  # of each term, and of the change
    assert {kind for verb, kind in asked if verb == "get"} == {"ImageStream"}  # the test's own


async def test_an_object_that_takes_the_place_of_a_container_is_told_of_at_the_end(
    tmp_path: Path,
) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe()
    await setup.push("sha256:a")
    stream = await setup.store.get(ImageStream, "shop", "base")
    end = setup.now + timedelta(minutes=5)
    mark = {UNTIL_ANNOTATION: end.isoformat()}
    await setup.store.update(stream.with_metadata(annotations=mark))
    outbox = SqliteOutbox(tmp_path / "deliveries.db")
    try:
        collector = EventCollector(
            ObjectCache(setup.store), outbox, SOURCE, lambda: setup.now, lambda: None
        )
        key = ObjectKey("ImageStream", "shop", "base")
        subscription = await setup.store.get(Subscription, "shop", "ci")
        assert (await collector.reconcile(key)).requeue_after == 300
        assert not outbox.next_due(subscription.uid, 1)

        setup.now = end
        await collector.reconcile(key)
        [told] = outbox.next_due(subscription.uid, 1)
        assert json.loads(told.envelope.body)["data"]["new"] == "sha256:a"
    finally:
        outbox.close()
