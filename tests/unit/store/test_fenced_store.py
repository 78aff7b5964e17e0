"""Writes of what a leader has started need its term; those of clients do not."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta
from upwell.store.fenced import FencedStore, fenced_context
from upwell.store.interface import Store, UnavailableError
from upwell.store.memory import MemoryStore


@dataclass
class Term:
    over: bool = False

    def require(self) -> None:
        if self.over:
            raise UnavailableError("over")


def store() -> FencedStore:
    return FencedStore(MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC)))


def settings(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="shop"))


WRITES: list[Callable[[Store, ImageStream], Awaitable[object]]] = [
    lambda store, _: store.create(settings("new")),
    lambda store, stream: store.update(stream.with_metadata(labels={"a": "b"})),
    lambda store, stream: store.update_status(stream),
    lambda store, stream: store.delete(ImageStream, "shop", stream.name),
]


@pytest.mark.parametrize("write", WRITES)
async def test_nothing_of_a_term_is_written_after_it(
    write: Callable[[Store, ImageStream], Awaitable[object]],
) -> None:
    fenced, term = store(), Term()
    stream = await fenced.create(ImageStream(metadata=ObjectMeta(name="s", namespace="shop")))
    ended = asyncio.Event()

    async def led() -> None:
        await ended.wait()
        # Started by what is led: it is behind the same fence.
        await asyncio.create_task(_awaited(write(fenced, stream)))

    task = asyncio.create_task(led(), context=fenced_context(term))
    term.over = True
    ended.set()

    with pytest.raises(UnavailableError, match="over"):
        await task
    assert await fenced.get(ImageStream, "shop", "s") == stream
    assert (await fenced.list(ConfigMap)).items == []


async def test_clients_write_whoever_leads() -> None:
    fenced, term = store(), Term(over=True)
    fenced_context(term)

    await fenced.create(settings("a"))

    assert [one.name for one in (await fenced.list(ConfigMap)).items] == ["a"]


async def test_an_earlier_term_stays_over_in_a_new_one() -> None:
    fenced, earlier, later = store(), Term(over=True), Term()

    await asyncio.create_task(_awaited(fenced.create(settings("a"))), context=fenced_context(later))
    with pytest.raises(UnavailableError):
        await asyncio.create_task(
            _awaited(fenced.create(settings("b"))), context=fenced_context(earlier)
        )


async def _awaited(work: Awaitable[object]) -> object:
    return await work
