"""Writes between staging and their journal, which the test holds in its hand."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap, Namespace
from upwell.api.meta import ObjectMeta
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import (
    AlreadyExistsError,
    Change,
    ExpiredError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)
from upwell.store.local import LocalStore
from upwell.store.memory import MemoryStore

NOON = datetime(2024, 5, 6, 12, 0, 0, 999, tzinfo=UTC)


class HeldJournal:
    """Keeps each batch waiting until the test lets it pass or fail."""

    def __init__(self) -> None:
        self.forgotten = 0
        self.batches: list[list[str]] = []
        self._verdicts: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def append(self, records: Sequence[ChangeRecord], forgotten: int) -> None:
        self.forgotten = forgotten
        self.batches.append([record.resource.name for record in records])
        verdict = await self._verdicts.get()
        if verdict is not None:
            raise verdict

    def let_pass(self) -> None:
        self._verdicts.put_nowait(None)

    def fail(self) -> None:
        self._verdicts.put_nowait(UnavailableError("the disk is full"))


@pytest.fixture
def journal() -> HeldJournal:
    return HeldJournal()


@pytest.fixture
def store(journal: HeldJournal) -> LocalStore:
    return LocalStore(lambda: NOON, journal, History(limit=10))


def item(name: str, **metadata: object) -> ConfigMap:
    return ConfigMap(
        metadata=ObjectMeta.model_validate({"name": name, "namespace": "n", **metadata})
    )


def large(name: str, number: int = 0, version: str = "") -> ConfigMap:
    data = {"text": "x" * 1000, "number": str(number)}
    return item(name, resourceVersion=version).model_copy(update={"data": data})


async def settle() -> None:
    """Let every task run until it waits for the journal."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_write_is_seen_only_when_it_is_durable(
    store: LocalStore, journal: HeldJournal
) -> None:
    async with aclosing(store.watch(ConfigMap)) as events:
        first = asyncio.ensure_future(anext(events))
        write = asyncio.create_task(store.create(item("a")))
        await settle()

        assert not write.done()
        assert not first.done()
        assert (await store.list(ConfigMap)).items == []
        with pytest.raises(NotFoundError):
            await store.get(ConfigMap, "n", "a")

        journal.let_pass()
        assert (await first).resource == await write == await store.get(ConfigMap, "n", "a")


async def test_writes_that_come_meanwhile_share_the_next_batch(
    store: LocalStore, journal: HeldJournal
) -> None:
    writes = [asyncio.create_task(store.create(item("first")))]
    await settle()
    writes += [asyncio.create_task(store.create(item(f"i{n}"))) for n in range(3)]
    await settle()
    journal.let_pass()
    journal.let_pass()

    made = await asyncio.gather(*writes)

    assert journal.batches == [["first"], ["i0", "i1", "i2"]]
    assert [one.resource_version for one in made] == ["1", "2", "3", "4"]


async def test_a_write_is_decided_upon_those_that_are_under_way(
    store: LocalStore, journal: HeldJournal
) -> None:
    first = asyncio.create_task(store.create(item("a")))
    second = asyncio.create_task(store.create(item("a")))
    await settle()
    assert not second.done()
    journal.let_pass()

    await first
    with pytest.raises(AlreadyExistsError):
        await second


async def test_a_failed_batch_takes_along_all_that_was_decided_upon_it(
    store: LocalStore, journal: HeldJournal
) -> None:
    first = asyncio.create_task(store.create(item("a")))
    await settle()
    follower = asyncio.create_task(store.update(item("a", labels={"x": "y"})))
    refused = asyncio.create_task(store.create(item("a")))
    await settle()
    journal.fail()

    outcomes = await asyncio.gather(first, follower, refused, return_exceptions=True)

    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    journal.let_pass()
    assert (await store.create(item("a"))).resource_version == "1"


async def test_a_cancelled_writer_disturbs_nobody(store: LocalStore, journal: HeldJournal) -> None:
    cancelled = asyncio.create_task(store.create(item("a")))
    other = asyncio.create_task(store.create(item("b")))
    await settle()
    cancelled.cancel()
    await settle()
    journal.let_pass()

    assert (await other).name == "b"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await store.get(ConfigMap, "n", "a")).name == "a"


async def test_close_finishes_what_is_under_way_and_refuses_the_rest(
    store: LocalStore, journal: HeldJournal
) -> None:
    write = asyncio.create_task(store.create(item("a")))
    await settle()
    closing = asyncio.create_task(store.close())
    await settle()
    assert not closing.done()
    journal.let_pass()
    await closing

    assert (await write).name == "a"
    with pytest.raises(UnavailableError, match="closed"):
        await store.create(item("b"))


async def test_times_are_the_clocks_in_whole_seconds() -> None:
    made = await MemoryStore(lambda: NOON).create(item("a", finalizers=("x/y",)))

    assert made.metadata.creation_timestamp == NOON.replace(microsecond=0)


async def test_a_watch_that_fell_behind_learns_so() -> None:
    store = MemoryStore(lambda: NOON, history_limit=3)
    async with aclosing(store.watch(ConfigMap)) as events:
        await store.create(item("first"))
        assert (await anext(events)).resource.name == "first"
        for number in range(4):
            await store.create(item(f"i{number}"))
        with pytest.raises(ExpiredError):
            await anext(events)


async def test_large_objects_that_change_often_do_not_fill_the_memory(journal: HeldJournal) -> None:
    size, least = 50_000, 5_000  # bytes of memory: of all, and of one change
    store = LocalStore(lambda: NOON, journal, History(limit=1000, size=size))
    for _ in range(22):
        journal.let_pass()
    async with aclosing(store.watch(ConfigMap)) as behind:
        changed = await store.create(large("a"))
        assert (await anext(behind)).resource.name == "a"
        for number in range(20):
            changed = await store.update(large("a", number, changed.resource_version))

        with pytest.raises(ExpiredError):
            await anext(behind)

    since = str(int(changed.resource_version) - 4)
    async with aclosing(store.watch(ConfigMap, since=since)) as close:
        assert int((await anext(close)).resource.resource_version) == int(since) + 1
    await store.create(item("b"))
    assert journal.forgotten >= 21 - size // least, "the file keeps no more than the memory"


async def test_one_object_larger_than_the_history_is_still_seen(journal: HeldJournal) -> None:
    store = LocalStore(lambda: NOON, journal, History(limit=1000, size=10))
    journal.let_pass()
    async with aclosing(store.watch(ConfigMap)) as events:
        await store.create(item("a"))

        assert (await anext(events)).resource.name == "a"


async def test_a_watch_that_keeps_up_sees_more_than_the_history_holds() -> None:
    store = MemoryStore(lambda: NOON, history_limit=3)
    seen = []
    async with asyncio.timeout(30), aclosing(store.watch(ConfigMap)) as events:
        for number in range(20):
            await store.create(item(f"i{number}"))
            seen.append((await anext(events)).resource.name)

    assert seen == [f"i{number}" for number in range(20)]


async def test_a_namespace_takes_along_what_lives_in_it() -> None:
    store = MemoryStore(lambda: NOON)
    await store.create(Namespace(metadata=ObjectMeta(name="n")))
    await store.create(item("a"))
    await store.create(item("b", namespace="other"))

    await store.delete(Namespace, "", "n")

    assert [one.name for one in (await store.list(ConfigMap)).items] == ["b"]


async def namespace_of(store: MemoryStore) -> Namespace:
    return await store.get(Namespace, "", "n")


async def test_a_namespace_stays_until_all_in_it_has_ended() -> None:
    store = MemoryStore(lambda: NOON)
    await store.create(Namespace(metadata=ObjectMeta(name="n")))
    await store.create(item("plain"))
    held = [await store.create(item(name, finalizers=("x/y",))) for name in ("one", "two")]

    await store.delete(Namespace, "", "n")

    ending = await namespace_of(store)
    assert ending.is_deleting
    assert ending.status["phase"] == "Terminating"
    left = (await store.list(ConfigMap)).items
    assert [(one.name, one.is_deleting) for one in left] == [("one", True), ("two", True)]
    with pytest.raises(AlreadyExistsError):
        await store.create(Namespace(metadata=ObjectMeta(name="n")))

    since = (await store.list(Namespace)).resource_version
    await store.delete(Namespace, "", "n")  # asked for again, it goes on as it was
    assert await namespace_of(store) == ending
    await _release(store, held[0].name)
    assert await namespace_of(store) == ending
    await store.create(item("late"))  # by a controller that has not heard of it
    await _release(store, held[1].name)

    assert (await store.list(ConfigMap)).items == []
    with pytest.raises(NotFoundError):
        await namespace_of(store)
    async with asyncio.timeout(30), aclosing(store.watch(Namespace, since=since)) as events:
        assert (await anext(events)).change is Change.DELETED


async def test_what_comes_late_into_a_namespace_holds_it_up_with_its_finalizer() -> None:
    store = MemoryStore(lambda: NOON)
    await store.create(Namespace(metadata=ObjectMeta(name="n")))
    await store.create(item("first", finalizers=("x/y",)))
    await store.delete(Namespace, "", "n")
    for number in range(2000):  # none of them is a step on the way to another
        await store.create(item(f"late-{number}"))
    await store.create(item("held", finalizers=("x/y",)))

    await _release(store, "first")

    assert [one.name for one in (await store.list(ConfigMap)).items] == ["held"]
    assert (await namespace_of(store)).is_deleting
    await _release(store, "held")
    with pytest.raises(NotFoundError):
        await namespace_of(store)


async def test_a_namespace_with_a_finalizer_of_its_own_waits_for_it() -> None:
    store = MemoryStore(lambda: NOON)
    meta = ObjectMeta(name="n", finalizers=("x/y",))
    await store.create(Namespace(metadata=meta))
    await store.create(item("plain"))
    await store.delete(Namespace, "", "n")
    assert (await store.list(ConfigMap)).items == []
    await store.create(item("late"))
    ending = await namespace_of(store)

    await store.update(ending.with_metadata(finalizers=()))

    assert (await store.list(ConfigMap)).items == []
    with pytest.raises(NotFoundError):
        await namespace_of(store)


async def _release(store: MemoryStore, name: str) -> None:
    found = await store.get(ConfigMap, "n", name)
    await store.update(found.with_metadata(finalizers=()))


async def test_an_owned_object_with_a_finalizer_waits_for_it() -> None:
    store = MemoryStore(lambda: NOON)
    owner = await store.create(item("owner"))
    references = (owner.owner_reference(),)
    await store.create(
        item("child", finalizers=("x/y",)).with_metadata(owner_references=references)
    )

    await store.delete(ConfigMap, "n", "owner")

    assert (await store.get(ConfigMap, "n", "child")).is_deleting


async def test_objects_that_own_each_other_can_be_deleted() -> None:
    store = MemoryStore(lambda: NOON)
    one = await store.create(item("one"))
    two = await store.create(item("two").with_metadata(owner_references=(one.owner_reference(),)))
    await store.update(one.with_metadata(owner_references=(two.owner_reference(),)))

    await store.delete(ConfigMap, "n", "one")

    assert (await store.list(ConfigMap)).items == []


async def test_a_cluster_scoped_object_in_a_namespace_is_refused() -> None:
    with pytest.raises(RejectedError, match="cannot be in a namespace"):
        await MemoryStore(lambda: NOON).create(
            Namespace(metadata=ObjectMeta(name="a", namespace="b"))
        )


async def test_open_watches_are_counted_by_kind() -> None:
    store = MemoryStore(lambda: NOON)
    await store.create(item("a"))
    async with aclosing(store.watch(ConfigMap)) as one, aclosing(store.watch(ConfigMap)) as two:
        await anext(one)
        await anext(two)
        assert store.watches == {"ConfigMap": 2}
        await one.aclose()
        assert store.watches == {"ConfigMap": 1}
    assert store.watches == {}


async def test_a_watch_that_catches_up_lets_others_go_on() -> None:
    store, seen, most = MemoryStore(lambda: NOON), 0, 0
    for number in range(1000):
        await store.create(item(f"item{number}"))

    async def catch_up() -> None:
        nonlocal seen
        async with aclosing(store.watch(ConfigMap, since="0")) as events:
            async for _ in events:
                seen += 1

    task = asyncio.create_task(catch_up())
    while seen < 1000:
        before = seen
        await asyncio.sleep(0)
        most = max(most, seen - before)
    task.cancel()
    await asyncio.wait([task])
    assert most == 64


async def test_a_watch_is_not_behind_for_changes_of_other_kinds() -> None:
    store = MemoryStore(lambda: NOON, history_limit=4)
    async with aclosing(store.watch(ConfigMap)) as changes:
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        others = [Namespace(metadata=ObjectMeta(name=f"n{number}")) for number in range(6)]
        await asyncio.gather(*map(store.create, others))
        assert not first.done()
        await store.create(item("one"))
        assert (await first).resource.name == "one"
