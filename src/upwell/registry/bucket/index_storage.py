"""Documents of indexes in the bucket: those of partitions are written once, under a new name."""

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

from upwell.machine.tasks import a_few_at_once
from upwell.registry.bucket.contents import key_of
from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.index_documents import (
    FIELDS,
    MAX_PARTITION_BYTES,
    IndexField,
    decode,
    decode_partition,
    encode_partition,
    encode_root,
    encode_whole,
)
from upwell.registry.bucket.partitions import MOST_ITEMS, PartitionedMap
from upwell.registry.hosting import StorageError
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.errors import BucketAnswerError

_AT_ONCE = 16
"""Requests for documents of one index."""
_FEW, _LEAST_MEAN_BYTES = 8, 4096
"""More partitions than so many, of fewer bytes on average, are made fewer."""
_LET_GO_AT_ONCE = 64
_MOST_LET_GO = 10_000
"""Documents that are remembered for removal; garbage collection finds the others."""


class PartitionGoneError(BucketAnswerError):
    """A document that an index names is not there: the index was replaced, or is damaged."""

    def __init__(self, where: str) -> None:
        super().__init__(where, "a part of the index is missing: restore the bucket from a copy")


class IndexStorage:
    """Reads and writes what an index consists of. Every method raises a BucketError."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._let_go = list[str]()

    async def read(
        self, raw: bytes, where: str, known: RepositoryIndex
    ) -> tuple[RepositoryIndex, str]:
        """Return the index that a document has or names, and the name of its write.

        Partitions that `known` has are not read again. Raises PartitionGoneError.
        """
        index, write = await asyncio.to_thread(decode, raw, where, known)
        await a_few_at_once(
            (
                self._fill(one, one.map_of(index), prefix, where)
                for one in FIELDS
                for prefix, partition in [*one.map_of(index).partitions.items()]
                if partition.size and not partition.items
            ),
            _AT_ONCE,
        )
        return index, write

    async def write(self, index: RepositoryIndex, write: str) -> tuple[bytes, int]:
        """Write the partitions that are not in the bucket yet.

        Returns the document of the index, and the bytes of all its documents.
        """
        raw, made = await asyncio.to_thread(_prepared, index, write)
        old, self._let_go = self._let_go[:_LET_GO_AT_ONCE], self._let_go[_LET_GO_AT_ONCE:]
        writes = (self._put(*one) for one in made)
        await a_few_at_once(chain(writes, (self._remove(one) for one in old)), _AT_ONCE)
        if not raw:
            raw = encode_root(index, write)
        return raw, len(raw) + sum(one.size for one in index.partitions())

    def let_go(self, contents: Iterable[str]) -> None:
        """Note documents that no index names any more, nor ever will: they are removed later."""
        self._let_go = [*self._let_go, *contents][-_MOST_LET_GO:]

    async def _fill(
        self, field: IndexField, held: PartitionedMap[Any, Any], prefix: str, where: str
    ) -> None:
        partition = held.partitions[prefix]
        found = await self._bucket.get(key_of(partition.content), partition.size)
        if found is None:
            raise PartitionGoneError(where)
        held.fill(prefix, decode_partition(found.raw, where, field))

    async def _put(self, held: PartitionedMap[Any, Any], prefix: str, raw: bytes) -> None:
        content = uuid.uuid4().hex
        await self._bucket.put(key_of(content), raw)
        held.store(prefix, content, len(raw))

    async def _remove(self, content: str) -> None:
        with suppress(StorageError):  # garbage collection finds it
            await self._bucket.delete(key_of(content))


type _Made = list[tuple[PartitionedMap[Any, Any], str, bytes]]
"""Documents of partitions that are not stored, each with its map and prefix."""


def _prepared(index: RepositoryIndex, write: str) -> tuple[bytes, _Made]:
    """Return the document of a small index; of a large one, b"" and those of its new partitions."""
    if len(index) <= MOST_ITEMS:
        raw = encode_whole(index, write)
        if len(raw) <= MAX_PARTITION_BYTES:
            for one in FIELDS:
                one.map_of(index).merge()
            return raw, []
    return b"", [made for one in FIELDS for made in _divided(one, one.map_of(index))]


def _divided(field: IndexField, held: PartitionedMap[Any, Any]) -> _Made:
    """Return the documents of partitions that are not stored, none of them too large."""
    stored = sum(one.size for one in held.partitions.values())
    if len(held.partitions) > max(_FEW, stored // _LEAST_MEAN_BYTES):
        held.merge()
    made: _Made = []
    new = [prefix for prefix, one in held.partitions.items() if one.items and not one.content]
    while new:
        prefix = new.pop()
        partition = held.partitions[prefix]
        raw = encode_partition(field, partition) if len(partition.items) <= MOST_ITEMS else b""
        if not raw or len(raw) > MAX_PARTITION_BYTES:
            parts = held.divide(prefix)
            if parts != [prefix]:
                new.extend(one for one in parts if held.partitions[one].items)
                continue
            raw = encode_partition(field, partition)
        made.append((held, prefix, raw))
    return made
