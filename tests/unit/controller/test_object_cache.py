"""Objects that the cache shows, and the handlers that hear of their changes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap, Secret, Service
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.controller import ObjectCache
from upwell.controller import cache as cache_module
from upwell.machine.backoff import Backoff
from upwell.store.interface import (
    EVERYTHING,
    ExpiredError,
    Listing,
    Selector,
    StoreError,
    UnavailableError,
    WatchEvent,
    WatchProgress,
)
from upwell.store.memory import MemoryStore


class InterruptedStore(MemoryStore):
    """Raises what it is given, at the next list and watch.

    `meanwhile` is written after the next list has read; `held` holds its answer back.
    """

    def __init__(self, history_limit: int) -> None:
        super().__init__(lambda: datetime.now(UTC), history_limit=history_limit)
        self.failures: list[StoreError] = []
        self.meanwhile: list[Resource] = []
        self.held: asyncio.Event | None = None
        self.restored: MemoryStore | None = None
        """Store that is read in place of this one, of which a watch goes on nowhere."""

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        self._fail()
        if self.restored is not None:
            return await self.restored.list(kind, selector)
        listing = await super().list(kind, selector)
        while self.meanwhile:
            await self.create(self.meanwhile.pop())
        if self.held is not None:
            held, self.held = self.held, None
            await held.wait()
        return listing

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        self._fail()
        before = self.restored
        source = super().watch if before is None else before.watch
        async for event in source(kind, selector, since=since, progress=progress):
            self._fail()
            if self.restored is not before:
                raise ExpiredError(since)
            yield event

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop()


class CachedStore:
    """A store, a cache of it with an index of colors, and the changes of ConfigMaps it told."""

    def __init__(self, history_limit: int = 100) -> None:
        self.store = InterruptedStore(history_limit)
        self.cache = ObjectCache(self.store)
        self.by_color = self.cache.index(ConfigMap, lambda item: item.data.values())
        self.told: list[tuple[str | None, str | None]] = []
        self.cache.on_change(ConfigMap, self._note)

    def _note(self, before: ConfigMap | None, after: ConfigMap | None) -> None:
        self.told.append((_color(before), _color(after)))

    async def paint(self, name: str, color: str) -> ConfigMap:
        item = config_map(name, color)
        if self.cache.get(ConfigMap, "n", name) is None:
            return await self.store.create(item)
        return await self.store.update(item)

    def names(self, color: str) -> set[str]:
        return {item.name for item in self.by_color.get(color)}

    @asynccontextmanager
    async def running(self, kinds: Sequence[type[Resource]] = (ConfigMap,)) -> AsyncIterator[None]:
        task = asyncio.create_task(self.cache.run())
        await asyncio.sleep(0)  # it runs from its first step on
        try:
            async with asyncio.timeout(30):
                await self.cache.ready(*kinds)
                yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def config_map(name: str, color: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="n"), data={"color": color})


def secret(name: str) -> Secret:
    return Secret(metadata=ObjectMeta(name=name, namespace="n"))


def _color(item: ConfigMap | None) -> str | None:
    return item.data["color"] if item is not None else None


@pytest.fixture
def cached() -> CachedStore:
    return CachedStore()


async def test_an_index_follows_what_is_written(cached: CachedStore) -> None:
    await cached.paint("sky", "blue")
    async with cached.running():
        assert cached.names("blue") == {"sky"}
        await cached.cache.wait_for(await cached.paint("sea", "blue"))
        assert cached.names("blue") == {"sky", "sea"}
        await cached.cache.wait_for(await cached.paint("sky", "red"))
        assert (cached.names("blue"), cached.names("red")) == ({"sea"}, {"sky"})
        await cached.store.delete(ConfigMap, "n", "sky")
        await cached.cache.wait_for(await cached.paint("sea", "grey"))
        assert (cached.names("red"), cached.names("grey")) == (set(), {"sea"})
        assert cached.cache.get(ConfigMap, "n", "sky") is None
    assert cached.told == [
        (None, "blue"),
        (None, "blue"),
        ("blue", "red"),
        ("red", None),
        ("blue", "grey"),
    ]


async def test_no_state_in_between_is_left_out(cached: CachedStore) -> None:
    async with cached.running():
        await cached.store.create(config_map("sky", "blue"))
        for color in ("red", "grey", "black"):
            last = await cached.store.update(config_map("sky", color))
        await cached.cache.wait_for(last)
    assert cached.told == [(None, "blue"), ("blue", "red"), ("red", "grey"), ("grey", "black")]


async def test_an_index_has_a_change_before_a_later_handler_is_told(cached: CachedStore) -> None:
    seen: list[set[str]] = []
    cached.cache.on_change(ConfigMap, lambda _before, _after: seen.append(cached.names("blue")))
    async with cached.running():
        await cached.cache.wait_for(await cached.paint("sky", "blue"))
        await cached.cache.wait_for(await cached.paint("sky", "red"))
    assert seen == [{"sky"}, set()]


async def test_whoever_comes_late_is_told_what_there_is(cached: CachedStore) -> None:
    await cached.paint("sky", "blue")
    async with cached.running():
        late: list[str] = []
        cached.cache.on_change(
            ConfigMap, lambda _, after: late.append(after.name if after else "gone")
        )
        assert late == ["sky"]
        index = cached.cache.index(ConfigMap, lambda item: item.data)
        assert [item.name for item in index.get("color")] == ["sky"]


async def test_each_kind_has_one_watch_however_many_ask_for_it(cached: CachedStore) -> None:
    for _ in range(3):
        cached.cache.index(ConfigMap, lambda item: item.data)
    async with cached.running():
        cached.cache.on_change(ConfigMap, lambda _before, _after: None)
        await cached.cache.wait_for(await cached.paint("sky", "blue"))
        assert cached.store.watches == {"ConfigMap": 1}
    await asyncio.sleep(0)
    assert cached.store.watches == {}


async def test_a_kind_may_be_asked_for_while_the_cache_runs(cached: CachedStore) -> None:
    await cached.store.create(secret("before"))
    async with cached.running():
        names: list[str] = []
        cached.cache.on_change(Secret, lambda _, after: names.append(after.name if after else ""))
        await cached.cache.ready(Secret)
        assert names == ["before"]
        await cached.cache.wait_for(await cached.store.create(secret("after")))
        assert names == ["before", "after"]
        service = await cached.store.create(Service(metadata=ObjectMeta(name="a", namespace="n")))
        await cached.cache.wait_for(service)  # nobody had asked for its kind
        assert cached.cache.get(Service, "n", "a") == service


async def test_a_kind_that_nobody_asked_for_is_not_taken_for_empty(cached: CachedStore) -> None:
    with pytest.raises(LookupError, match="does not follow Secret"):
        cached.cache.get(Secret, "n", "a")


async def test_nothing_falls_between_the_list_and_the_watch(cached: CachedStore) -> None:
    cached.store.meanwhile.append(config_map("sky", "blue"))
    async with cached.running():
        await cached.cache.wait_for(await cached.store.create(config_map("sea", "grey")))
    assert cached.told == [(None, "blue"), (None, "grey")]


async def test_a_store_that_went_back_gives_its_versions_again(cached: CachedStore) -> None:
    restored = MemoryStore(lambda: datetime.now(UTC))
    for store in (cached.store, restored):
        await store.create(config_map("sky", "blue"))
    async with cached.running():
        await cached.store.create(secret("of other kinds"))
        await cached.cache.wait_for(await cached.store.update(config_map("sky", "red")))
        await restored.create(secret("another"))
        same_version = await restored.update(config_map("sky", "green"))
        await cached.store.create(config_map("last", "black"))
        await cached.cache.wait_for(await cached.store.create(config_map("sea", "grey")))
        before = cached.cache.get(ConfigMap, "n", "sky")
        assert before is not None
        assert before.resource_version == same_version.resource_version
        cached.store.restored = restored
        await cached.store.create(config_map("ends", "the watch"))

        await cached.cache.wait_for(await restored.create(config_map("new", "white")))
        assert (cached.names("white"), cached.names("green")) == ({"new"}, {"sky"})
        assert cached.cache.get(ConfigMap, "n", "sea") is None


async def test_a_gap_in_the_history_is_closed_by_a_list() -> None:
    cached = CachedStore(history_limit=2)
    await cached.paint("sky", "blue")
    async with cached.running():
        await cached.store.delete(ConfigMap, "n", "sky")
        # All at once, before the cache gets to run: more than the history keeps.
        for number in range(5):
            last = await cached.store.create(config_map(f"item{number}", "red"))
        await cached.cache.wait_for(last)
        assert cached.names("red") == {f"item{number}" for number in range(5)}
        assert cached.names("blue") == set()
    assert ("blue", None) in cached.told


async def test_a_store_that_is_away_is_asked_again(
    cached: CachedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.controller.watching._PAUSES", Backoff(first=0.01))
    cached.store.failures = [UnavailableError("gone"), UnavailableError("gone")]
    async with cached.running():
        await cached.cache.wait_for(await cached.paint("sky", "blue"))
        cached.store.failures = [UnavailableError("gone")]
        await cached.cache.wait_for(await cached.paint("sky", "red"))
    assert cached.store.failures == []
    assert cached.told == [(None, "blue"), ("blue", "red")]


async def test_a_long_listing_lets_others_go_on(cached: CachedStore) -> None:
    for number in range(1000):
        await cached.store.create(config_map(f"item{number}", "blue"))
    most, task = 0, asyncio.create_task(cached.cache.run())
    while len(cached.told) < 1000:
        before = len(cached.told)
        await asyncio.sleep(0)
        most = max(most, len(cached.told) - before)
    task.cancel()
    await asyncio.wait([task])
    assert most == 10


async def test_a_replay_lets_others_go_on_and_tells_each_object_as_it_is_now(
    cached: CachedStore,
) -> None:
    for number in range(100):
        await cached.store.create(config_map(f"item{number}", "blue"))
    told: list[str | None] = []
    async with cached.running():
        await cached.cache.ready(ConfigMap)
        replaying = asyncio.create_task(
            cached.cache.replay(ConfigMap, lambda _, after: told.append(_color(after)))
        )
        most = 0
        while not replaying.done():
            before = len(told)
            await asyncio.sleep(0)
            most = max(most, len(told) - before)
    assert most == 10
    assert told == ["blue"] * 100


async def test_without_running_a_cache_lists_what_there_is(cached: CachedStore) -> None:
    await cached.paint("sky", "blue")
    await cached.cache.ready(ConfigMap)
    assert cached.names("blue") == {"sky"}
    await cached.store.delete(ConfigMap, "n", "sky")
    await cached.cache.ready(ConfigMap)
    assert cached.names("blue") == set()


async def test_a_list_that_run_has_overtaken_is_not_taken_in(cached: CachedStore) -> None:
    """A change that came by the watch must not be undone by an older listing."""
    await cached.paint("sky", "blue")
    cached.store.held = held = asyncio.Event()
    ready = asyncio.create_task(cached.cache.ready(ConfigMap))
    await asyncio.sleep(0)
    async with cached.running():
        await cached.cache.wait_for(await cached.paint("sky", "red"))
        held.set()
        await ready
        assert cached.names("red") == {"sky"}


async def test_a_cache_that_hears_nothing_says_which_version_it_lacks(
    cached: CachedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_LONGEST_LAG", 0.01)
    async with cached.running():
        written = await cached.paint("sky", "blue")
        unseen = written.with_metadata(resource_version="999")
        lacking = r"has not seen version 999 of ConfigMap n/sky after 0\.01 s"
        with pytest.raises(UnavailableError, match=lacking):
            await cached.cache.wait_for(unseen)


async def test_all_see_one_copy_of_an_object(cached: CachedStore) -> None:
    async with cached.running():
        written = await cached.paint("sky", "blue")
        await cached.cache.wait_for(written)
        (indexed,) = cached.by_color.get("blue")
        assert indexed is written is cached.cache.get(ConfigMap, "n", "sky")
        assert indexed.key == ObjectKey("ConfigMap", "n", "sky")


async def test_a_fault_in_an_index_or_a_handler_costs_nobody_else_a_change(
    cached: CachedStore, caplog: pytest.LogCaptureFixture
) -> None:
    def first_letter(found: ConfigMap) -> Sequence[str]:
        return [found.data["color"][0]]

    def broken(_before: ConfigMap | None, _after: ConfigMap | None) -> None:
        raise ValueError("broken")

    letters = cached.cache.index(ConfigMap, first_letter)
    cached.cache.on_change(ConfigMap, broken)
    later: list[str | None] = []
    cached.cache.on_change(ConfigMap, lambda _before, after: later.append(_color(after)))
    async with cached.running():
        await cached.store.create(config_map("odd", ""))
        await cached.cache.wait_for(await cached.paint("sky", "blue"))
        assert cached.names("blue") == {"sky"}
        await cached.cache.wait_for(await cached.store.update(config_map("odd", "black")))
        assert {item.name for item in letters.get("b")} == {"sky", "odd"}
    assert later == ["", "blue", "black"]
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count("object not indexed") == 2, "when it came, and as the state before"
    assert messages.count("change not handled") == 3
