"""Contract of stores, of watches and of many writers at a time."""

import asyncio

import pytest
from tests.support.store.stores_under_test import NAMESPACE, Port, pipeline, ready, take, watching

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.store.interface import (
    AlreadyExistsError,
    Change,
    ConflictError,
    ExpiredError,
    Selector,
    Store,
)


async def test_a_watch_without_since_first_yields_what_exists(store: Store) -> None:
    for name in ("a", "b"):
        await store.create(pipeline(name))

    async with watching(store, Selector(NAMESPACE)) as events:
        existing = await take(events, 2)
        await store.create(pipeline("c"))
        then = await take(events, 1)

    assert existing == [("ADDED", "a"), ("ADDED", "b")]
    assert then == [("ADDED", "c")]


async def test_a_watch_goes_on_after_a_listing(store: Store) -> None:
    made = await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    await store.update_status(made.with_status(ready("True")))
    await store.delete(Pipeline, NAMESPACE, "a")
    await store.create(pipeline("b"))

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        seen = await take(events, 3)

    assert seen == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_a_watch_resumes_after_any_event_without_loss_or_repetition(store: Store) -> None:
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    names = [f"p{number}" for number in range(12)]
    for name in names:
        await store.create(pipeline(name))
    seen: list[str] = []

    while len(seen) < len(names):
        async with watching(store, Selector(NAMESPACE), since=since) as events:
            for _ in range(3):
                event = await anext(events)
                seen.append(event.resource.name)
                since = event.resource.resource_version

    assert seen == names


async def test_a_deletion_is_a_position_to_resume_from(store: Store) -> None:
    await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version
    await store.delete(Pipeline, NAMESPACE, "a")
    await store.create(pipeline("b"))

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        deleted = await anext(events)
    resumed = deleted.resource.resource_version
    async with watching(store, Selector(NAMESPACE), since=resumed) as events:
        assert await take(events, 1) == [("ADDED", "b")]
    assert deleted.change is Change.DELETED


async def test_a_watch_sees_labels_come_and_go(store: Store) -> None:
    made = await store.create(pipeline("a"))
    selector = Selector(NAMESPACE, {"app": "shop"})
    since = (await store.list(Pipeline, selector)).resource_version

    async with watching(store, selector, since=since) as events:
        made = await store.update(made.with_metadata(labels={"app": "shop"}))
        made = await store.update(made.with_metadata(labels={"app": "shop", "x": "y"}))
        made = await store.update(made.with_metadata(labels={}))
        await store.update(made.with_metadata(labels={"x": "z"}))
        await store.create(pipeline("end", labels={"app": "shop"}))
        seen = await take(events, 4)

    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]


async def test_a_watch_resumed_between_changes_of_labels_sees_them_come_and_go(
    store: Store,
) -> None:
    inside, outside = {"app": "shop"}, {"app": "gate"}
    made = await store.create(pipeline("a", labels=outside))
    other = await store.create(pipeline("b", labels=inside))
    selector = Selector(NAMESPACE, inside)
    since = (await store.list(Pipeline, selector)).resource_version
    await store.update(made.with_metadata(labels={**inside, "x": "y"}))
    await store.update(other.with_metadata(labels={}))

    async with watching(store, selector, since=since) as events:
        entered = await anext(events)
        left = await anext(events)
    assert (entered.change, entered.resource.name) == (Change.ADDED, "a")
    assert (left.change, left.resource.name) == (Change.DELETED, "b")

    resumed = entered.resource.resource_version
    async with watching(store, selector, since=resumed) as events:
        assert await take(events, 1) == [("DELETED", "b")]


async def test_a_watch_sees_one_name_and_one_kind_only(store: Store) -> None:
    selector = Selector(NAMESPACE, name="wanted")
    since = (await store.list(Pipeline, selector)).resource_version

    async with watching(store, selector, since=since) as events:
        await store.create(pipeline("other"))
        await store.create(ConfigMap(metadata=ObjectMeta(name="wanted", namespace=NAMESPACE)))
        await store.create(pipeline("wanted"))
        assert await take(events, 1) == [("ADDED", "wanted")]


async def test_a_write_that_changes_nothing_is_no_event(store: Store) -> None:
    made = await store.create(pipeline("a"))
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version

    async with watching(store, Selector(NAMESPACE), since=since) as events:
        await store.update(made)
        await store.update_status(made)
        await store.create(pipeline("b"))
        assert await take(events, 1) == [("ADDED", "b")]


@pytest.mark.parametrize("since", ["99999999999", "yesterday"])
async def test_a_position_that_the_store_never_gave_has_expired(port: Port, since: str) -> None:
    if not port.settles_at_once and not since.isdecimal():
        pytest.skip("an API server refuses a word")
    async with watching(port.store, since=since) as events:
        with pytest.raises(ExpiredError, match=since):
            await anext(events)


# many at a time


async def test_every_increment_of_many_writers_survives(store: Store) -> None:
    await store.create(
        ConfigMap(metadata=ObjectMeta(name="n", namespace=NAMESPACE), data={"n": "0"})
    )

    async def increment() -> None:
        while True:
            found = await store.get(ConfigMap, NAMESPACE, "n")
            wanted = found.model_copy(update={"data": {"n": str(int(found.data["n"]) + 1)}})
            try:
                await store.update(wanted)
            except ConflictError:
                continue
            return

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(increment())

    assert (await store.get(ConfigMap, NAMESPACE, "n")).data == {"n": "20"}


async def test_of_many_creators_of_one_name_one_succeeds(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.create(pipeline("a", f"s{number}")) for number in range(10)), return_exceptions=True
    )

    made = [outcome for outcome in outcomes if isinstance(outcome, Pipeline)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExistsError)]
    assert (len(made), len(refused)) == (1, 9)
    assert await store.get(Pipeline, NAMESPACE, "a") == made[0]


async def test_every_watch_sees_concurrent_writes_in_the_same_order(store: Store) -> None:
    since = (await store.list(Pipeline, Selector(NAMESPACE))).resource_version

    async def observe() -> list[tuple[str, str]]:
        async with watching(store, Selector(NAMESPACE), since=since) as events:
            return await take(events, 40)

    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(observe()) for _ in range(5)]
        for number in range(40):
            group.create_task(store.create(pipeline(f"p{number}")))

    orders = [watch.result() for watch in watches]
    assert all(order == orders[0] for order in orders)
    assert len(set(orders[0])) == 40
