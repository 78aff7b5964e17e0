"""Objects of another store, kept as they were there."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as, encode
from upwell.api.meta import ObjectMeta
from upwell.store.interface import EVERYTHING, AlreadyExistsError, RejectedError
from upwell.store.memory import MemoryStore
from upwell.store.sqlite import SqliteStore

BUILD = decode_as(
    Build,
    {
        "metadata": {
            "name": "shop-1",
            "namespace": "shop",
            "uid": "earlier",
            "generation": 4,
            "creationTimestamp": "2025-01-02T03:04:05Z",
            "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
        },
        "spec": {"strategy": {"type": "Docker", "dockerStrategy": {}}},
        "status": {"phase": "Complete", "completionTimestamp": "2025-01-02T03:05:05Z"},
    },
)


def now() -> datetime:
    return datetime.now(UTC)


async def test_everything_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "upwell.db", clock=now)
    await store.restore([BUILD])
    await store.close()

    store = await SqliteStore.open(tmp_path / "upwell.db", clock=now)
    found = await store.get(Build, "shop", "shop-1")
    await store.close()
    assert encode(found.with_metadata(resource_version=None)) == encode(BUILD)


async def test_nothing_is_overwritten() -> None:
    store = MemoryStore(now)
    await store.restore([BUILD])
    other = BUILD.with_metadata(name="shop-2")
    with pytest.raises(AlreadyExistsError):
        await store.restore([other, BUILD])
    assert [one.name for one in (await store.list(Build, EVERYTHING)).items] == ["shop-1"]


async def test_an_object_without_identity_is_refused() -> None:
    with pytest.raises(RejectedError, match="no uid"):
        await MemoryStore(now).restore([Build(metadata=ObjectMeta(name="new", namespace="shop"))])
