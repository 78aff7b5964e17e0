"""Subscriptions end to end over a real outbox: from an object's status to a receiver."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.authors import FixedAuthors
from tests.support.notifications.notifier_setup import SOURCE, NotifierSetup, settled, until

from upwell.api.codec import decode
from upwell.api.conditions import find
from upwell.api.subscription import Subscription
from upwell.api.values.author import with_author
from upwell.delivery.interface import DeliveryError
from upwell.delivery.sqlite import SqliteOutbox

DAILY = {"schedule": "0 8 * * *"}


def _are(found: list[Any], count: int) -> bool:
    return len(found) == count


@pytest.fixture
def setup(tmp_path: Path) -> NotifierSetup:
    return NotifierSetup(tmp_path)


async def test_an_image_change_is_told_once_through_restarts(setup: NotifierSetup) -> None:
    await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:a")
        await until(lambda: setup.told() == ["sha256:a"])
    async with setup.running():
        await setup.push("sha256:b")
        await until(lambda: setup.told() == ["sha256:a", "sha256:b"])
    event = json.loads(setup.receivers.received[0].body)
    assert (event["source"], event["subject"]) == (SOURCE, "shop/ImageStream/base")


async def test_a_new_subscription_hears_nothing_of_the_past(setup: NotifierSetup) -> None:
    await setup.push("sha256:a")
    setup.now += timedelta(minutes=1)
    await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:b")
        await until(lambda: setup.told() == ["sha256:b"])


async def test_a_subscription_sees_its_own_namespace_or_all(setup: NotifierSetup) -> None:
    await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:a", namespace="bank")
        await setup.push("sha256:b")
        await until(lambda: setup.told() == ["sha256:b"])
        await setup.subscribe("all", namespaces=["*"])
        await setup.push("sha256:c", namespace="bank")
        await until(lambda: "sha256:c" in setup.told())
    assert setup.told().count("sha256:c") == 1


async def test_an_author_who_lost_a_right_is_told_nothing_more(setup: NotifierSetup) -> None:
    authors = FixedAuthors({"eve": ("admin@*",)})
    setup.authors = authors
    made = await setup.subscribe("all", namespaces=["*"])
    await setup.store.update(with_author(made, "eve"))

    async def reason() -> str | None:
        found = await setup.store.get(Subscription, made.namespace, "all")
        ready = find(found.status.conditions, "Ready")
        return ready.reason if ready is not None else None

    async with setup.running():
        await setup.push("sha256:a", namespace="bank")
        await until(lambda: setup.told() == ["sha256:a"])
        authors.found["eve"] = ("promoter@shop",)
        await setup.push("sha256:b", namespace="bank")
        await settled(reason, "MissingRight")
        assert setup.told() == ["sha256:a"]
    authors.found["eve"] = ("admin@*",)
    setup.now += timedelta(minutes=1)
    async with setup.running():
        await until(lambda: setup.told() == ["sha256:a", "sha256:b"])


async def test_a_filter_may_name_the_subject(setup: NotifierSetup) -> None:
    await setup.subscribe(filter={"subjects": ["shop/ImageStream/ba*"]})
    async with setup.running():
        await setup.push("sha256:a", stream="app")
        await setup.push("sha256:b", stream="base")
        await setup.push("sha256:c", stream="app")
        await setup.push("sha256:d", stream="base")
        await until(lambda: setup.told() == ["sha256:b", "sha256:d"])


async def test_what_a_filter_did_not_want_is_not_told_when_it_is_widened(
    setup: NotifierSetup,
) -> None:
    await setup.subscribe(filter={"types": ["dev.upwell.build.*"]})
    async with setup.running():
        await setup.push("sha256:a")
        await setup.subscribe("other")
        await setup.push("sha256:b")
        await until(lambda: "sha256:b" in setup.told())
        setup.receivers.received.clear()
        await setup.change("ci", webhook={"url": "http://ci.test/"})
        await setup.taken_in("ci")
        await setup.push("sha256:c")
        await until(lambda: setup.told() == ["sha256:c", "sha256:c"])
        assert (await setup.actions.dead_letters("shop", "ci")) == []


async def test_a_subject_waits_for_its_event_that_fails_and_others_go_on(
    setup: NotifierSetup,
) -> None:
    failing = True

    def answer(envelope: Any) -> DeliveryError | None:
        return (
            DeliveryError("answered 500") if failing and "sha256:a1" in envelope.message else None
        )

    setup.receivers.answer = answer
    await setup.subscribe()
    async with setup.running():
        for digest in ("sha256:a1", "sha256:a2"):
            await setup.push(digest, "a")
        await until(lambda: bool(setup.receivers.refused))
        await setup.push("sha256:b1", "b")
        await until(lambda: setup.told() == ["sha256:b1"])

        async def why() -> str:
            return (await setup.ready()).message

        await settled(why, "it is tried again: answered 500")
        failing = False
        setup.now += timedelta(hours=1)
        await setup.push("sha256:b2", "b")  # wakes the dispatcher, whose clock stood still
        await until(lambda: len(setup.told()) == 4)
    told = [digest for digest in setup.told() if digest.startswith("sha256:a")]
    assert told == ["sha256:a1", "sha256:a2"]


async def test_after_too_many_tries_it_is_given_up(setup: NotifierSetup) -> None:
    setup.receivers.answer = lambda _: DeliveryError("answered 503")
    await setup.subscribe(retries={"attempts": 3})
    async with setup.running() as subscriptions:
        await setup.push("sha256:a")
        for tries in (1, 2, 3):
            await until(partial(_are, setup.receivers.refused, tries))
            setup.now += timedelta(seconds=10)
            subscriptions.dispatcher.wake()  # its clock stood still

        async def letters() -> int:
            return len(await setup.actions.dead_letters("shop", "ci"))

        await settled(letters, 1)
    assert len(setup.receivers.refused) == 3


async def test_a_receiver_that_asks_for_a_pause_gets_it_for_everything(
    setup: NotifierSetup,
) -> None:
    setup.receivers.answer = lambda _: DeliveryError("answered 429", retry_after=600)
    await setup.subscribe()
    async with setup.running() as subscriptions:
        await setup.push("sha256:a", "a")
        await until(lambda: len(setup.receivers.refused) == 1)
        await setup.push("sha256:b", "b")
        setup.now += timedelta(seconds=590)
        subscriptions.dispatcher.wake()  # its clock stood still
        # Another Subscription's delivery shows that the dispatcher has looked.
        await setup.subscribe("other")
        setup.receivers.answer = lambda _: None
        await setup.push("sha256:c", "c")
        await until(lambda: setup.told() == ["sha256:c"])
        setup.now += timedelta(seconds=20)
        subscriptions.dispatcher.wake()  # its clock stood still
        await until(
            lambda: sorted(setup.told()) == ["sha256:a", "sha256:b", "sha256:c", "sha256:c"]
        )


async def test_a_suspended_subscription_keeps_what_happens(setup: NotifierSetup) -> None:
    await setup.subscribe(suspend=True)
    async with setup.running():
        await setup.push("sha256:a")

        async def standing() -> tuple[int, str]:
            found = await setup.store.get(Subscription, "shop", "ci")
            condition = find(found.status.conditions, "Ready")
            return found.status.pending, condition.reason if condition else ""

        setup.now += timedelta(seconds=1)
        await setup.subscribe("other")
        await setup.push("sha256:b")
        await until(lambda: setup.told() == ["sha256:b"])
        await setup.store.update(
            (await setup.store.get(Subscription, "shop", "ci")).with_metadata(labels={"a": "b"})
        )
        await settled(standing, (2, "Suspended"))
        await setup.change("ci", webhook={"url": "http://ci.test/"})
        await until(lambda: setup.told() == ["sha256:b", "sha256:a", "sha256:b"])


async def test_a_secret_that_is_missing_delays_and_costs_no_try(setup: NotifierSetup) -> None:
    key = {"name": "key"}
    webhook = {"url": "http://ci.test/", "contentType": "application/json"}
    await setup.subscribe(webhook={**webhook, "secret": key, "headers": key})
    async with setup.running():
        await setup.push("sha256:a")

        async def reason() -> str:
            return (await setup.ready()).reason

        await settled(reason, "SecretMissing")
        answer = await setup.actions.test("shop", "ci")
        assert not answer.delivered
        assert answer.message == "Secret key does not exist in namespace shop: create it"
        await setup.store.create(
            decode(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "key", "namespace": "shop"},
                    "stringData": {"secret": "s3cret\n"},
                }
            )
        )
        await until(lambda: setup.told() == ["sha256:a"])
        await settled(reason, "Delivering")
    target = setup.receivers.targets[-1]
    assert target.secret == b"s3cret"
    assert target.content_type == "application/json"
    assert "s3cret" not in repr(target)


async def test_at_most_four_deliveries_of_a_subscription_are_under_way(
    setup: NotifierSetup,
) -> None:
    setup.receivers.gate.clear()
    await setup.subscribe()
    async with setup.running():
        for number in range(9):
            await setup.push(f"sha256:{number}", f"stream-{number}")
        await until(lambda: setup.receivers.at_once == 4)
        setup.receivers.gate.set()
        await until(lambda: len(setup.told()) == 9)
    assert setup.receivers.most_at_once == 4


async def test_a_delivery_that_was_on_its_way_at_an_end_is_made_again(setup: NotifierSetup) -> None:
    setup.receivers.gate.clear()
    await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:a")
        await setup.push("sha256:b")
        await until(lambda: setup.receivers.at_once == 1)
    assert setup.told() == []
    setup.receivers.gate.set()
    async with setup.running():
        await until(lambda: setup.told() == ["sha256:a", "sha256:b"])


async def test_of_a_subscription_that_is_deleted_nothing_is_left(setup: NotifierSetup) -> None:
    setup.receivers.answer = lambda _: DeliveryError("answered 500")
    made = await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:a")
        await until(lambda: bool(setup.receivers.refused))
        await setup.store.delete(Subscription, "shop", "ci")
        kept = SqliteOutbox(setup.folder / "deliveries.db")
        await until(lambda: made.uid not in kept.subscriptions())
        kept.close()


async def test_a_digest_is_sent_once_at_its_time_with_what_waits(setup: NotifierSetup) -> None:
    await setup.subscribe(digest=DAILY)
    hold = {"upwell.dev/hold": "Black Friday"}
    metadata = {"name": "web", "namespace": "shop", "annotations": hold}
    await setup.store.create(
        decode({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}})
    )
    async with setup.running():
        await setup.push("sha256:a")
        setup.now += timedelta(seconds=1)
        await setup.subscribe("other")
        await setup.push("sha256:b")
        await until(lambda: setup.told() == ["sha256:b"])
    setup.now = datetime(2026, 3, 2, 8, 0, 1, tzinfo=UTC)
    async with setup.running():
        await until(lambda: "digest" in setup.receivers.types)
    async with setup.running():
        await setup.push("sha256:c")
        await until(lambda: setup.told() == ["sha256:b", "sha256:c"])
    assert setup.receivers.types.count("digest") == 1
    digest = next(one for one in setup.receivers.received if one.type.endswith("digest"))
    data = json.loads(digest.body)["data"]
    assert data["message"] == "1 held back or waiting, 2 events"
    assert data["lines"] == [
        "shop/Deployment/web: is held: Black Friday",
        "shop/ImageStream/base: tag 1 is sha256:a",
        "shop/ImageStream/base: tag 1 is sha256:b",
    ]


async def test_a_digest_that_would_say_nothing_is_not_sent(setup: NotifierSetup) -> None:
    await setup.subscribe(digest=DAILY)
    setup.now = datetime(2026, 3, 2, 8, 0, 1, tzinfo=UTC)

    async def last() -> datetime | None:
        return (await setup.store.get(Subscription, "shop", "ci")).status.last_digest

    async with setup.running():
        await settled(last, datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    assert setup.receivers.received == []


async def test_without_its_digest_what_was_gathered_is_sent_one_by_one(
    setup: NotifierSetup,
) -> None:
    await setup.subscribe(digest=DAILY)
    async with setup.running():
        await setup.push("sha256:a")

        async def pending() -> int:
            found = await setup.store.get(Subscription, "shop", "ci")
            await setup.store.update(found.with_metadata(labels={"n": found.resource_version}))
            return found.status.pending

        await settled(pending, 1)
        await setup.change("ci", webhook={"url": "http://ci.test/"})
        await until(lambda: setup.told() == ["sha256:a"])
