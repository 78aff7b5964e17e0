"""Backups of a data folder beside a store that writes, and what a restored one has."""

import asyncio
import itertools
import shutil
import sqlite3
from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import image, index, push, push_blob

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.app.backup.making import make_backup
from upwell.app.backup.restoring import check_restorable, restore_backup
from upwell.backup.interface import BackupError, BackupHeader, BackupLimits, BackupPart
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key
from upwell.oci import Digest, MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import ManifestPush
from upwell.store.migrations import MIGRATIONS
from upwell.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ALL = tuple(BackupPart)


def item(name: str, text: str = "") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="n"), data={"text": text})


async def opened(data: Path, *keys: KeySource) -> SqliteStore:
    return await SqliteStore.open(
        data / "upwell.db", clock=lambda: NOW, keyring=Keyring(keys, data)
    )


def back_up(data: Path, path: Path, parts: Collection[BackupPart] = ALL) -> BackupHeader:
    return make_backup(data, path, parts, NOW, BackupLimits()).header


def restored(path: Path, data: Path, *, replace: bool = False) -> Path:
    restore_backup(path, data, NOW, replace=replace)
    return data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "instance-id").write_text("abcd1234\n")
    for name in ("admin.token", "signing.key", "audit.log", "audit.log.1", "image-signing.pub"):
        (folder / name).write_text(name)
    for name in (
        *("tls/ca.pem", "tls/ca.key", "inputs/ab/cd", "evidence/e", "logs/builds/uid.log"),
        *("workloads/claims/n/data/PG_VERSION", "workloads/kept/x/file"),
        "workloads/snapshots/n/data/r3/PG_VERSION",
        *("workloads/instances/i/record.json", "builds/x/y", "gitops/z", "router/haproxy.cfg"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


async def test_objects_keys_and_volumes_come_back_and_what_is_made_anew_does_not(
    data: Path, tmp_path: Path
) -> None:
    store = await opened(data)
    await store.create(item("a"))
    header = back_up(data, tmp_path / "backup.tar")
    await store.close()

    new = restored(tmp_path / "backup.tar", tmp_path / "new")
    assert (header.schema, header.instance) == (len(MIGRATIONS), "abcd1234")
    assert files(new) == {
        *("upwell.db", "instance-id", "admin.token", "signing.key", "image-signing.pub"),
        *("audit.log", "audit.log.1", "tls/ca.pem", "tls/ca.key", "inputs/ab/cd", "evidence/e"),
        *("logs/builds/uid.log", "workloads/claims/n/data/PG_VERSION", "workloads/kept/x/file"),
        "workloads/snapshots/n/data/r3/PG_VERSION",
    }
    assert (new / "admin.token").read_text() == "admin.token"
    assert new.stat().st_mode & 0o077 == 0
    store = await opened(new)
    assert (await store.get(ConfigMap, "n", "a")).metadata.name == "a"
    await store.close()


async def test_a_part_that_is_left_out_is_not_in_it(data: Path, tmp_path: Path) -> None:
    await (await opened(data)).close()
    header = back_up(data, tmp_path / "backup.tar", [BackupPart.LOGS])
    new = restored(tmp_path / "backup.tar", tmp_path / "new")
    assert header.parts == (BackupPart.STATE, BackupPart.LOGS)
    assert (new / "logs").is_dir()
    assert not (new / "workloads").exists()


async def test_a_backup_beside_a_writing_store_is_of_one_moment(data: Path, tmp_path: Path) -> None:
    """Each pair is written in order: no backup has the second of one without the first."""
    store = await opened(data)
    wanted = 5
    done = asyncio.Event()

    async def write() -> None:
        for number in itertools.count():
            await store.create(item(f"first-{number}", "x" * 2000))
            await store.create(item(f"second-{number}", "y" * 2000))
            if done.is_set():
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for number in range(wanted):
            await asyncio.to_thread(back_up, data, tmp_path / f"{number}.tar", [])
        done.set()
    await store.close()

    counts = []
    for number in range(wanted):
        copy = await opened(restored(tmp_path / f"{number}.tar", tmp_path / f"new-{number}"))
        names = [one.name for one in (await copy.list(ConfigMap)).items]
        first = {name.partition("-")[2] for name in names if name.startswith("first")}
        second = {name.partition("-")[2] for name in names if name.startswith("second")}
        assert second <= first
        assert len(first - second) <= 1
        assert first == {str(one) for one in range(len(first))}
        counts.append(len(names))
        await copy.create(item("goes-on"))
        await copy.close()
    assert counts == sorted(counts)


async def test_an_encrypted_database_stays_encrypted_and_takes_its_key(
    data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "one.key"
    write_new_key(path)
    key = KeySource("file", str(path))
    store = await opened(data, key)
    await store.create(item("a", "plain-text-mark"))
    header = back_up(data, tmp_path / "backup.tar")
    await store.close()

    assert header.is_encrypted
    assert b"plain-text-mark" not in (tmp_path / "backup.tar").read_bytes()
    store = await opened(restored(tmp_path / "backup.tar", tmp_path / "new"), key)
    assert (await store.get(ConfigMap, "n", "a")).data == {"text": "plain-text-mark"}
    await store.close()


async def test_images_that_tags_or_objects_name_come_back_and_others_do_not(
    data: Path, tmp_path: Path
) -> None:
    registry = EmbeddedRegistry(data / "registry", "registry.internal")
    await registry.recover()
    tagged = await push(registry, "n/app", "v1", "tagged")
    named = await push(registry, "n/app", None, "named")
    child = await push(registry, "n/app", None, "child")
    raw = index(image("child"))
    pushed = ManifestPush("n/app", raw, str(MediaType.OCI_INDEX), "all")
    parent = (await registry.put_manifest(pushed)).digest
    lost = await push(registry, "n/app", None, "lost")
    await push(registry, "other/app", "v1", "tagged")
    loose = await push_blob(registry, "n/app", b"of no manifest")
    await registry.start_upload("n/app")
    store = await opened(data)
    await store.create(item("a", f"an image: n/app@{named}"))
    back_up(data, tmp_path / "backup.tar")
    await store.close()

    new = restored(tmp_path / "backup.tar", tmp_path / "new")
    copy = EmbeddedRegistry(new / "registry", "registry.internal")
    await copy.recover()
    found = {one.name: one for one in await copy.survey()}
    assert {one.digest for one in found["n/app"].manifests} == {tagged, named, child, parent}
    assert {tag: one.digest for tag, one in found["n/app"].tags.items()} == {
        "v1": tagged,
        "all": parent,
    }
    assert [one.digest for one in found["other/app"].manifests] == [tagged]
    assert not [path for path in files(new) if loose.hex in path or lost.hex in path]
    assert _links(new, tagged) == 3
    assert await copy.collect_garbage() == await copy.collect_garbage()


def _links(data: Path, digest: Digest) -> int:
    """Return the names of one content: its own, and one in each of two repositories."""
    return (data / "registry/blobs/sha256" / digest.hex[:2] / digest.hex).stat().st_nlink


async def test_a_used_folder_is_refused_or_moved_aside(data: Path, tmp_path: Path) -> None:
    store = await opened(data)
    back_up(data, tmp_path / "backup.tar")
    await store.create(item("later"))
    with pytest.raises(BackupError, match="in use by process"):
        restored(tmp_path / "backup.tar", data, replace=True)
    await store.close()
    with pytest.raises(BackupError, match="let --replace move it aside"):
        restored(tmp_path / "backup.tar", data)

    _, kept = restore_backup(tmp_path / "backup.tar", data, NOW, replace=True)
    assert kept == tmp_path / "data-before-restore-20261130T120000Z"
    store = await opened(kept)
    assert len((await store.list(ConfigMap)).items) == 1
    await store.close()
    store = await opened(data)
    assert not (await store.list(ConfigMap)).items
    await store.close()


async def test_a_restore_that_was_killed_is_done_again(data: Path, tmp_path: Path) -> None:
    await (await opened(data)).close()
    back_up(data, tmp_path / "backup.tar")
    half = tmp_path / "new" / "restoring.partial"
    half.mkdir(parents=True)
    (half / "upwell.db").write_text("half")

    new = restored(tmp_path / "backup.tar", tmp_path / "new")
    assert not half.exists()
    await (await opened(new)).close()


async def test_a_damaged_backup_leaves_a_used_folder_as_it_was(data: Path, tmp_path: Path) -> None:
    await (await opened(data)).close()
    path = tmp_path / "backup.tar"
    back_up(data, path)
    path.write_bytes(path.read_bytes()[:-11_000])
    before = files(data)
    with pytest.raises(BackupError, match=r"cut|damaged"):
        restored(path, data, replace=True)
    assert files(data) == before
    assert not [name for name in files(tmp_path) if "before" in name or "partial" in name]


async def test_a_damaged_backup_leaves_no_folder_that_was_not_there(
    data: Path, tmp_path: Path
) -> None:
    await (await opened(data)).close()
    path = tmp_path / "backup.tar"
    back_up(data, path)
    path.write_bytes(path.read_bytes()[:-11_000])
    (tmp_path / "empty").mkdir()
    for one in folders(data):
        shutil.rmtree(data / one, ignore_errors=True)
    for place in (tmp_path / "new" / "data", tmp_path / "empty" / "data", tmp_path / "empty"):
        with pytest.raises(BackupError, match=r"cut|damaged"):
            restored(path, place)
    assert folders(tmp_path) == {"data", "empty"}


async def test_a_backup_of_a_newer_version_is_refused(data: Path, tmp_path: Path) -> None:
    await (await opened(data)).close()
    with closing(sqlite3.connect(data / "upwell.db")) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    back_up(data, tmp_path / "backup.tar")
    for refused in (
        lambda: restored(tmp_path / "backup.tar", tmp_path / "new"),
        lambda: check_restorable(tmp_path / "backup.tar"),
    ):
        with pytest.raises(BackupError, match=r"install Upwell .* or newer"):
            refused()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_a_folder_without_a_whole_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "upwell.db").write_bytes(content)
    with pytest.raises(BackupError, match=r"upwell\.db"):
        back_up(tmp_path / "data", tmp_path / "backup.tar")
    assert [one.name for one in tmp_path.iterdir()] == ["data"]
