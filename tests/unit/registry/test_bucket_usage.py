"""Bytes of a namespace in a bucket: true after each change, and not counted for each piece."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest

from upwell.oci import Digest
from upwell.registry.bucket import usage
from upwell.registry.bucket.content_tally import ContentTally
from upwell.registry.bucket.index import ContentLink, RepositoryIndex
from upwell.registry.bucket.indexes import IndexChange
from upwell.registry.bucket.usage import BucketUsage
from upwell.registry.hosted.quotas import BLOCK, charge
from upwell.registry.hosting import StorageQuota

if TYPE_CHECKING:
    from upwell.registry.bucket.indexes import IndexWatcher, RepositoryIndexes

QUOTA = StorageQuota("quota", 10**9)


class MemoryIndexes:
    """Indexes of repositories, as far as they are counted."""

    def __init__(self) -> None:
        self.watchers: list[IndexWatcher] = []
        self.held: dict[str, RepositoryIndex] = {}

    async def names(self, beginning: str = "") -> AsyncIterator[tuple[str, str]]:
        for name in [one for one in self.held if one.startswith(beginning)]:
            yield name, "etag"

    async def known(self, name: str, _etag: str) -> RepositoryIndex:
        return self.held[name]

    def push(self, name: str, *contents: str, tag: str = "") -> None:
        """Have a repository hold contents of 5,000 bytes each, and tell so."""
        before = self.held.get(name, RepositoryIndex())
        index = before.copy()
        for one in contents:
            index.link_blob(Digest.of(one.encode()), ContentLink(one, 5000, 0.0))
        if tag:
            index.set_tag(tag, Digest.of(b"x"), 0.0)
        self.held[name] = index
        for watcher in self.watchers:
            watcher(IndexChange(name, before, index, is_own=True))


@pytest.fixture
def indexes() -> MemoryIndexes:
    return MemoryIndexes()


@pytest.fixture
def counted(indexes: MemoryIndexes) -> BucketUsage:
    return BucketUsage(cast("RepositoryIndexes", indexes), lambda: 0.0)


async def test_each_change_is_counted_and_shared_content_once(
    indexes: MemoryIndexes, counted: BucketUsage
) -> None:
    indexes.push("shop/web", "a", "b")
    assert await counted.used("shop") == 2 * charge(5000)
    indexes.push("shop/api", "b", "c", tag="v1")
    assert await counted.used("shop") == 3 * charge(5000) + BLOCK
    assert counted.has("shop/web", "c")
    assert not counted.has("other/web", "c")
    assert await counted.used("other") == 0


async def test_an_index_that_is_read_again_counts_what_it_has_now(
    indexes: MemoryIndexes, counted: BucketUsage
) -> None:
    indexes.push("shop/web", "a", "b")
    indexes.push("shop/api", "b", "c")
    again = RepositoryIndex()
    for one in ("b", "d", "e"):
        again.link_blob(Digest.of(one.encode()), ContentLink(one, 9000, 0.0))
    tally = ContentTally.of(again.links())
    indexes.held["shop/web"] = again
    for watcher in indexes.watchers:  # as of one that memory had no room for meanwhile
        watcher(IndexChange("shop/web", None, again, is_own=False, tally=tally))
    assert await counted.used("shop") == 2 * charge(5000) + 2 * charge(9000)
    assert counted.total() == 2 * 5000 + 2 * 9000
    assert not counted.has("shop/web", "a")


async def test_pieces_of_an_upload_count_no_content_again(
    indexes: MemoryIndexes, counted: BucketUsage, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes.push("shop/web", *map(str, range(100)))
    await counted.used("shop")
    charged: list[int] = []

    def counting(size: int) -> int:
        charged.append(size)
        return charge(size)

    monkeypatch.setattr(usage, "charge", counting)
    for size in range(1, 11):
        await counted.grow("shop/web", "upload", size, QUOTA)
    assert len(charged) < 50
