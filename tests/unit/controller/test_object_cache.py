"""What a view shows, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectMeta
from upwell.controller import cache as view_module
from upwell.controller.cache import ObjectCache
from upwell.store.interface import UnavailableError
from upwell.store.memory import MemoryStore


class Site:
    """A store, a view of its ConfigMaps and Secrets, and what the view has told."""

    def __init__(self, history_limit: int = 100) -> None:
        self.store = MemoryStore(lambda: datetime.now(UTC), history_limit=history_limit)
        self.view = ObjectCache(self.store, (ConfigMap, Secret), name="test")
        self.by_color = self.view.index(ConfigMap, lambda item: item.data.values())
        self.told: list[tuple[str | None, str | None]] = []
        self.view.on_change(ConfigMap, self._note)

    def _note(self, before: ConfigMap | None, after: ConfigMap | None) -> None:
        self.told.append((_color(before), _color(after)))

    async def paint(self, name: str, color: str) -> ConfigMap:
        item = ConfigMap(metadata=ObjectMeta(name=name, namespace="n"), data={"color": color})
        if self.view.get(ConfigMap, "n", name) is None:
            return await self.store.create(item)
        return await self.store.update(item)

    def names(self, color: str) -> set[str]:
        return {item.name for item in self.by_color.get(color)}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.view.run())
        await asyncio.sleep(0)  # it runs from its first step on
        try:
            async with asyncio.timeout(5):
                await self.view.ready()
                yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def _color(item: ConfigMap | None) -> str | None:
    return item.data["color"] if item is not None else None


async def test_an_index_follows_what_is_written() -> None:
    site = Site()
    await site.paint("sky", "blue")
    async with site.running():
        assert site.names("blue") == {"sky"}
        await site.view.wait_for(await site.paint("sea", "blue"))
        assert site.names("blue") == {"sky", "sea"}
        await site.view.wait_for(await site.paint("sky", "red"))
        assert (site.names("blue"), site.names("red")) == ({"sea"}, {"sky"})
        await site.store.delete(ConfigMap, "n", "sky")
        await site.view.wait_for(await site.paint("sea", "grey"))
        assert (site.names("red"), site.names("grey")) == (set(), {"sea"})
        assert site.view.get(ConfigMap, "n", "sky") is None
    assert site.told == [
        (None, "blue"),
        (None, "blue"),
        ("blue", "red"),
        ("red", None),
        ("blue", "grey"),
    ]


async def test_whoever_comes_late_is_told_what_there_is() -> None:
    site = Site()
    await site.paint("sky", "blue")
    async with site.running():
        late: list[str] = []
        site.view.on_change(
            ConfigMap, lambda _, after: late.append(after.name if after else "gone")
        )
        assert late == ["sky"]
        index = site.view.index(ConfigMap, lambda item: item.data)
        assert [item.name for item in index.get("color")] == ["sky"]


async def test_a_gap_in_the_history_is_closed_by_a_list() -> None:
    site = Site(history_limit=2)
    await site.paint("sky", "blue")
    async with site.running():
        await site.store.delete(ConfigMap, "n", "sky")
        # All at once, before the view gets to run: more than the history keeps.
        for number in range(5):
            item = ConfigMap(
                metadata=ObjectMeta(name=f"item{number}", namespace="n"), data={"color": "red"}
            )
            last = await site.store.create(item)
        await site.view.wait_for(last)
        assert site.names("red") == {f"item{number}" for number in range(5)}
        assert site.names("blue") == set()
    assert ("blue", None) in site.told


async def test_without_running_a_view_lists_what_there_is() -> None:
    site = Site()
    await site.paint("sky", "blue")
    await site.view.ready()
    assert site.names("blue") == {"sky"}
    await site.store.delete(ConfigMap, "n", "sky")
    await site.view.ready()
    assert site.names("blue") == set()


async def test_a_view_that_hears_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "_LONGEST_LAG", 0.01)
    site = Site()
    async with site.running():
        written = await site.paint("sky", "blue")
        unheard = written.with_metadata(resource_version="999")
        with pytest.raises(UnavailableError, match="ConfigMap n/sky"):
            await site.view.wait_for(unheard)
