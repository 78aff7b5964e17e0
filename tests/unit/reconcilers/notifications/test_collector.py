"""Filters by which events are judged while they change."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.notifications.notifier_setup import SOURCE, NotifierSetup

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.subscription import Subscription
from upwell.delivery.sqlite import SqliteOutbox
from upwell.reconcilers.notifications.collector import EventCollector


async def test_an_event_that_comes_after_a_filter_is_widened_is_judged_by_the_wider_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = NotifierSetup(tmp_path)
    await setup.subscribe(filter={"types": ["dev.upwell.build.*"]})
    await setup.push("sha256:a")
    get = setup.store.get
    moved: list[str] = []

    async def slowly(kind: type[Any], namespace: str, name: str) -> Any:
        if kind is ImageStream and not moved:
            moved.append(name)
            await setup.change("ci", webhook={"url": "http://ci.test/"})
            await setup.push("sha256:b")
        return await get(kind, namespace, name)

    monkeypatch.setattr(setup.store, "get", slowly)
    outbox = SqliteOutbox(tmp_path / "deliveries.db")
    try:
        collector = EventCollector(setup.store, outbox, SOURCE, lambda: setup.now, lambda: None)
        await collector.reconcile(ObjectKey("ImageStream", "shop", "base"))
        subscription = await get(Subscription, "shop", "ci")
        told = []
        while due := outbox.next_due(subscription.uid, 1):  # in order within a subject
            told.append(json.loads(due[0].envelope.body)["data"]["new"])
            outbox.delivered(due[0], setup.now)
        assert told == ["sha256:a", "sha256:b"]
    finally:
        outbox.close()
