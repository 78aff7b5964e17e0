"""Position of a watch: never past a change that it has still to tell of."""

import asyncio
from collections.abc import AsyncGenerator

from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectMeta, Resource
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import Change, WatchProgress


def change(kind: type[Resource], version: int) -> ChangeRecord:
    metadata = ObjectMeta(name="one", namespace="n", resource_version=str(version))
    return ChangeRecord(version, Change.MODIFIED, kind(metadata=metadata), None, body="")


async def waiting(events: AsyncGenerator[ChangeRecord]) -> asyncio.Future[ChangeRecord]:
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert not following.done()
    return following


async def test_it_passes_changes_of_others_and_waits_for_the_reader_at_its_own() -> None:
    history, progress = History(limit=100), WatchProgress()
    events = history.follow(0, ConfigMap, progress=progress)
    assert progress.version == ""
    following = await waiting(events)
    assert progress.version == "0"
    history.publish([change(Secret, 1), change(Secret, 2)])
    assert progress.version == "2"
    history.publish([change(Secret, 3), change(ConfigMap, 4), change(Secret, 5)])
    assert progress.version == "3"  # the fourth is published, and nobody has it yet
    assert (await following).version == 4
    assert progress.version == "3"  # whoever asks for the next has dealt with it
    assert (await anext(events)).version == 5  # may be told of too
    following = await waiting(events)
    assert progress.version == "5"
    history.publish([change(Secret, 6)])
    assert progress.version == "6"
    history.publish([change(ConfigMap, 7)])
    assert (await following).version == 7
    await events.aclose()
