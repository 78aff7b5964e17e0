"""Test the cache of a BuildConfig: one build at a time, and never a reason to fail."""

from datetime import timedelta
from pathlib import Path

import pytest

from upwell.builder.interface import BuildError
from upwell.builder.kubernetes.cache import cache_in_use, free_percentage, may_use_cache
from upwell.oci import Digest


class CacheOnVolume:
    """Implements CachingBuilder: what is kept takes all of the volume but `free` percent."""

    def __init__(self, *free: int) -> None:
        self._free = list(free)
        self.pruned = 0
        self.fault: BuildError | None = None

    def free(self, _: Path) -> int:
        return self._free.pop(0) if len(self._free) > 1 else self._free[0]

    async def recover(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        assert (keep, unused_for, dry_run) == (frozenset(), timedelta(0), False)
        self.pruned += 1
        return ("image", "cache")


@pytest.fixture
def said() -> list[str]:
    return []


def test_one_build_at_a_time_uses_a_cache(tmp_path: Path, said: list[str]) -> None:
    with cache_in_use(tmp_path, said.append) as first, cache_in_use(tmp_path, said.append) as two:
        assert (first, two) == (True, False)
    assert "Another build" in said[0]
    with cache_in_use(tmp_path, said.append) as again:
        assert again


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, said: list[str]) -> None:
    with cache_in_use(tmp_path / "missing", said.append) as usable:
        assert not usable
    assert "No such file" in said[0]


@pytest.mark.parametrize(
    ("free", "pruned", "told"),
    [
        ((50,), 0, ""),
        ((5, 50), 1, "2 images and caches were removed"),
        ((5, 5), 1, "Enlarge the PersistentVolumeClaim"),
    ],
)
async def test_a_full_volume_is_emptied_and_left_alone_if_others_fill_it(
    tmp_path: Path, said: list[str], free: tuple[int, ...], pruned: int, told: str
) -> None:
    kept = CacheOnVolume(*free)
    assert await may_use_cache(kept, tmp_path, said.append, kept.free) is (free[-1] > 10)
    assert kept.pruned == pruned
    assert told in " ".join(said)


async def test_a_cache_that_cannot_be_read_fails_no_build(tmp_path: Path, said: list[str]) -> None:
    kept = CacheOnVolume(50)
    kept.fault = BuildError("GenericBuildFailed", "layers.json: unexpected end")
    assert not await may_use_cache(kept, tmp_path, said.append, kept.free)
    assert "layers.json" in said[0]


def test_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    assert 0 <= free_percentage(tmp_path) <= 100
