import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.store.interface import ConflictError
from upwell.store.memory import MemoryStore
from upwell.store.retry import UPDATE_TRIES, update_with_retry
from upwell.store.sqlite import SqliteStore


class ContendedMap:
    """A ConfigMap that others write between each read and write, `times` times."""

    def __init__(self, times: int) -> None:
        self.store = MemoryStore(clock=lambda: datetime.now(UTC))
        self.times = times
        self.reads = 0

    async def create(self) -> None:
        await self.store.create(ConfigMap(metadata=ObjectMeta(name="m", namespace="n")))

    async def decide(self) -> ConfigMap:
        found = await self.store.get(ConfigMap, "n", "m")
        self.reads += 1
        if self.reads <= self.times:
            theirs = {**found.data, f"theirs-{self.reads}": "x"}
            await self.store.update(found.model_copy(update={"data": theirs}))
        return found.model_copy(update={"data": {**found.data, "ours": "x"}})


@pytest.mark.parametrize("times", [0, 1, UPDATE_TRIES - 1])
async def test_a_write_that_loses_races_is_decided_anew_and_loses_nothing(times: int) -> None:
    contended = ContendedMap(times)
    await contended.create()

    written = await update_with_retry(contended.decide, contended.store.update)

    assert set(written.data) == {"ours", *(f"theirs-{at + 1}" for at in range(times))}
    assert contended.reads == times + 1


async def test_the_last_conflict_names_the_object() -> None:
    contended = ContendedMap(UPDATE_TRIES)
    await contended.create()

    with pytest.raises(ConflictError, match="ConfigMap n/m was not written"):
        await update_with_retry(contended.decide, contended.store.update)

    assert contended.reads == UPDATE_TRIES
    assert "ours" not in (await contended.store.get(ConfigMap, "n", "m")).data


async def test_a_conflict_that_the_decision_finds_is_final() -> None:
    contended = ContendedMap(0)
    await contended.create()
    tries = 0

    async def stale() -> ConfigMap:
        nonlocal tries
        tries += 1
        raise ConflictError(ObjectKey("ConfigMap", "n", "m"))

    with pytest.raises(ConflictError):
        await update_with_retry(stale, contended.store.update)

    assert tries == 1


async def test_everybody_who_writes_one_object_at_once_gets_a_turn(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "upwell.db", clock=lambda: datetime.now(UTC))
    await store.create(ConfigMap(metadata=ObjectMeta(name="m", namespace="n")))

    async def add(name: str) -> None:
        async def with_mine() -> ConfigMap:
            found = await store.get(ConfigMap, "n", "m")
            await asyncio.sleep(0)  # what deciding takes in earnest
            return found.model_copy(update={"data": {**found.data, name: "x"}})

        async def twice(mine: ConfigMap) -> ConfigMap:
            return await store.update(await store.update(mine))

        await update_with_retry(with_mine, twice)

    names = {f"writer-{number}" for number in range(40)}
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(add(name))
    assert set((await store.get(ConfigMap, "n", "m")).data) == names
    await store.close()
