"""Identity of the data folder, and of the database in it."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.rollouts.memory_machine import FakeRuntime, MemoryClock

from upwell.app.data_folder import (
    DataFolderError,
    account_for_instances,
    identify,
    refuse_second_folder,
)
from upwell.oci import Digest, Reference
from upwell.store.sqlite import SqliteStore
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner

IMAGE = Reference.parse("registry.test/web").with_digest(Digest.of(b"good"))
SPEC = InstanceSpec(
    "web-0",
    Owner("Deployment", "shop", "web"),
    "rev1",
    (ContainerSpec("web", IMAGE),),
    owner_version="7",
)


def record(data: Path, name: str = "web-0") -> None:
    folder = data / "workloads" / "instances" / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(data / "upwell.db", clock=lambda: datetime.now(UTC))
    try:
        yield store
    finally:
        await store.close()


def test_a_new_folder_gets_an_id_and_keeps_it(tmp_path: Path) -> None:
    made = identify(tmp_path)
    assert made
    assert identify(tmp_path) == made


@pytest.mark.parametrize("damage", [b"", b"\x00\xff", b"../x"])
def test_a_damaged_id_is_taken_from_the_database(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "instance-id").write_bytes(damage)
    assert identify(tmp_path, "abcd1234") == "abcd1234"
    assert (tmp_path / "instance-id").read_text() == "abcd1234\n"


@pytest.mark.parametrize("damage", [None, b""])
def test_a_lost_id_is_not_made_up_beside_instances(tmp_path: Path, damage: bytes | None) -> None:
    record(tmp_path)
    if damage is not None:
        (tmp_path / "instance-id").write_bytes(damage)
    with pytest.raises(DataFolderError, match="instance-id is missing or damaged"):
        identify(tmp_path)


def test_a_database_of_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "instance-id").write_text("ours\n")
    with pytest.raises(DataFolderError, match="belongs to instance theirs"):
        identify(tmp_path, "theirs")


async def _account(
    data: Path,
    store: SqliteStore,
    specs: Sequence[InstanceSpec] = (),
    *,
    adopt: bool = False,
    fault: str = "",
) -> FakeRuntime:
    runtime = FakeRuntime(MemoryClock())
    runtime.unavailable = fault
    for spec in specs:
        await runtime.start(spec)
    await account_for_instances(data, "ours", store, runtime, adopt_empty=adopt)
    return runtime


async def test_an_empty_database_beside_instances_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(DataFolderError, match="deployment/web in shop") as refused:
            await _account(tmp_path, store, [SPEC])
        assert "--adopt-empty" in str(refused.value)
        assert store.timelines == []

    async with opened(tmp_path) as store:  # and again: the refusal has not made it a known one
        with pytest.raises(DataFolderError):
            await _account(tmp_path, store, [SPEC])


async def test_an_empty_database_that_is_accepted_stays_accepted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await _account(tmp_path, store, [SPEC], adopt=True)
        assert store.instance_id == "ours"
    async with opened(tmp_path) as store:
        await _account(tmp_path, store, [SPEC])
        assert store.timeline not in {"", "memory"}


@pytest.mark.parametrize(
    "place",
    ["workloads/claims/shop/db/PG", "workloads/kept/shop/PG", "registry/repositories/a/_tags/1"],
)
async def test_an_empty_database_beside_data_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("x")
    async with opened(tmp_path) as store:
        with pytest.raises(DataFolderError, match=place.split("/")[1]):
            await _account(tmp_path, store)


async def test_a_new_folder_begins(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await _account(tmp_path, store)
        [timeline] = store.timelines
    async with opened(tmp_path) as store:
        await _account(tmp_path, store)
        assert store.timelines == [timeline]


async def test_while_podman_does_not_answer_the_absence_of_an_owner_proves_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        await _account(tmp_path, store)
        [before] = store.timelines
    async with opened(tmp_path) as store:
        await _account(tmp_path, store, fault="it hangs")
        assert store.timelines[0] == before
        assert store.timeline != before
        known = store.timelines
    async with opened(tmp_path) as store:
        await _account(tmp_path, store)
        assert store.timelines == known


async def test_an_empty_database_beside_records_is_refused_while_podman_does_not_answer(
    tmp_path: Path,
) -> None:
    record(tmp_path)
    async with opened(tmp_path) as store:
        with pytest.raises(DataFolderError, match="1 records"):
            await _account(tmp_path, store, fault="it hangs")


async def test_a_folder_that_is_reached_by_another_path_is_no_copy(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    identity = identify(folder)
    async with opened(folder) as store:
        await store.identify(identity, ["t1"])
    link.symlink_to(folder)

    async with opened(link) as store:
        refuse_second_folder(link, store)


async def test_a_copy_beside_its_original_is_refused(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    async with opened(original) as store:
        await store.identify(identify(original), ["now"])
    shutil.copytree(original, copy)

    async with opened(copy) as store:
        with pytest.raises(DataFolderError, match="is a copy of"):
            refuse_second_folder(copy, store)
        original.rename(tmp_path / "renamed")
        refuse_second_folder(copy, store)
    async with opened(tmp_path / "renamed") as store:
        refuse_second_folder(tmp_path / "renamed", store)
