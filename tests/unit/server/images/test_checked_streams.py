"""ImageStreams of the API, with the times of checks that are written nowhere."""

import asyncio
from datetime import UTC, datetime, timedelta

from upwell.api.core import ConfigMap
from upwell.api.image import ImageStream, ImageStreamStatus, ImportState, NamedTagEventList
from upwell.api.meta import ObjectMeta
from upwell.policy.images.checks import ImportCheck, with_checks
from upwell.server.images.checked_streams import CheckedStreams
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SOURCE = "vendor.example/debian:12"
CHECK = ImportCheck(SOURCE, 1, NOW, NOW + timedelta(minutes=15), 900)


def of_time(stream: ImageStream) -> tuple[datetime | None, datetime | None]:
    state = stream.status.tags[0].import_state
    assert state is not None
    return state.last_check_time, state.next_check_time


async def test_a_get_and_a_list_tell_of_checks_and_nothing_else_is_changed() -> None:
    store = MemoryStore(lambda: NOW)
    state = ImportState(
        source=SOURCE,
        generation=1,
        last_check_time=NOW - timedelta(hours=1),
        next_check_time=NOW - timedelta(minutes=45),
        interval=900,
    )
    status = ImageStreamStatus(tags=(NamedTagEventList(tag="12", import_state=state),))
    for name in ("checked", "other"):
        made = await store.create(ImageStream(metadata=ObjectMeta(name=name, namespace="shop")))
        await store.update_status(made.with_status(status))
    settings = await store.create(ConfigMap(metadata=ObjectMeta(name="app", namespace="shop")))
    reader = CheckedStreams(
        store, lambda one: with_checks(one, {"12": CHECK} if one.name == "checked" else {})
    )
    stored = await store.get(ImageStream, "shop", "checked")
    told = await reader.get(ImageStream, "shop", "checked")
    assert of_time(told) == (NOW, NOW + timedelta(minutes=15))
    assert told.metadata == stored.metadata
    listing = await reader.list(ImageStream)
    assert listing.items == [told, await store.get(ImageStream, "shop", "other")]
    assert listing.resource_version == (await store.list(ImageStream)).resource_version
    assert await reader.get(ConfigMap, "shop", "app") is settings


async def test_others_have_their_turn_while_many_streams_are_listed() -> None:
    store = MemoryStore(lambda: NOW)
    for number in range(100):
        metadata = ObjectMeta(name=f"app{number}", namespace="shop")
        await store.create(ImageStream(metadata=metadata))
    asked: list[str] = []
    turns: list[int] = []

    def as_checked(stream: ImageStream) -> ImageStream:
        asked.append(stream.name)
        return stream

    async def others() -> None:
        while len(asked) < 100:
            turns.append(len(asked))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        await CheckedStreams(store, as_checked).list(ImageStream)

    assert len(set(turns)) >= 3
