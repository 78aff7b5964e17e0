"""Caches of commands: apart from one another, bounded, and never taken from a build that runs."""

import os
from pathlib import Path

import pytest

from upwell.builder.disk.cache_mounts import CacheMounts
from upwell.builder.disk.room import RoomOnDisk
from upwell.machine.process import SYSTEM_PATH, Launcher

LIMIT = 8 * 1024**2


@pytest.fixture
def caches(tmp_path: Path) -> CacheMounts:
    disk = RoomOnDisk(Launcher(str(tmp_path)), SYSTEM_PATH)
    return CacheMounts(tmp_path / "caches", LIMIT, disk)


async def fill(caches: CacheMounts, key: str, temporary: Path, megabytes: float) -> list[str]:
    """Leave a file in the cache of `key`, and return what was there before."""
    async with caches.linked(key, temporary) as cache:
        found = sorted(path.name for path in cache.path.iterdir())
        link = temporary / f"buildah-cache-{os.geteuid()}"
        assert link.readlink() == cache.path
        (link / f"file-{len(found)}").write_bytes(b"x" * int(megabytes * 1024**2))
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    return path


async def test_a_cache_is_that_of_its_key_alone(caches: CacheMounts, temporary: Path) -> None:
    assert await fill(caches, "a/1", temporary, 0.1) == []
    assert await fill(caches, "b/1", temporary, 0.1) == []
    assert await fill(caches, "a/1", temporary, 0.1) == ["file-0"]


async def test_a_cache_over_its_share_is_begun_anew(caches: CacheMounts, temporary: Path) -> None:
    await fill(caches, "a/1", temporary, 3)
    assert await fill(caches, "a/1", temporary, 0.1) == []


async def test_the_cache_that_was_used_least_recently_goes_first(
    caches: CacheMounts, temporary: Path
) -> None:
    for number in range(5):
        await fill(caches, f"a/{number}", temporary, 1.9)
        for path in caches.folder.iterdir():
            used = path.stat().st_mtime
            os.utime(path, (used - 10, used - 10))
    assert await fill(caches, "a/4", temporary, 0) == ["file-0"]
    assert await fill(caches, "a/0", temporary, 0) == []


async def test_a_cache_in_use_stays_and_its_growth_can_be_counted(
    caches: CacheMounts, temporary: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    await fill(caches, "a/1", temporary, 1)
    async with caches.linked("a/1", other) as cache:
        assert cache.bytes_before >= 1024**2
        assert await caches.prune(float("inf"), dry_run=False) == []
        await fill(caches, "a/1", temporary, 3)
        assert len(list(cache.path.iterdir())) == 2
    assert not cache.path.exists()


async def test_what_nobody_has_used_for_long_is_pruned(
    caches: CacheMounts, temporary: Path
) -> None:
    await fill(caches, "a/1", temporary, 0.1)
    assert await caches.prune(0, dry_run=False) == []
    assert len(await caches.prune(float("inf"), dry_run=True)) == 1
    assert len(await caches.prune(float("inf"), dry_run=False)) == 1
    assert await caches.prune(float("inf"), dry_run=False) == []
