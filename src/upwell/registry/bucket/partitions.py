"""Mapping in partitions by key: a change copies, compares and writes those alone that it touches.

Keys have a place of 32 bits, evenly spread. A partition holds the keys whose places begin with its
prefix, in binary digits; one that grows too large is divided (extendible hashing).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Self, overload, override
from zlib import crc32

from upwell.oci import Digest

MOST_ITEMS = 256
"""Of one partition, as far as places differ."""
_BITS = 32


@dataclass(frozen=True, slots=True)
class Partition[K, V]:
    """Part of a mapping, and where it is stored."""

    items: dict[K, V]
    content: str = ""
    """ID of its document in the bucket; empty: it is not stored."""
    size: int = 0
    """Bytes of the document."""


class PartitionedMap[K, V]:  # noqa: PLW1641 - it can be changed
    """Mapping whose copies share their partitions, each until one of them changes it."""

    def __init__(
        self, place: Callable[[K], str], partitions: Mapping[str, Partition[K, V]] | None = None
    ) -> None:
        self._place = place
        self.partitions: dict[str, Partition[K, V]]
        """Prefix -> partition."""
        self._own: set[str]
        """Prefixes of those that no other map shares."""
        self._depth: int
        self.replace(partitions or {"": Partition[K, V]({})})

    def copy(self) -> Self:
        """Return a map that can be changed."""
        return type(self)(self._place, self.partitions)

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get[D](self, key: K, default: D) -> V | D: ...
    def get[D](self, key: K, default: D | None = None) -> V | D | None:
        """Return a value, or the default where there is none."""
        return self.partitions[self._prefix(key)].items.get(key, default)

    def __getitem__(self, key: K) -> V:
        return self.partitions[self._prefix(key)].items[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._owned(key)[key] = value

    def __contains__(self, key: K) -> bool:
        return key in self.partitions[self._prefix(key)].items

    def pop(self, key: K) -> V | None:
        """Remove and return a value; None: there is none."""
        return self._owned(key).pop(key, None) if key in self else None

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield keys and values."""
        return chain.from_iterable(one.items.items() for one in self.partitions.values())

    def values(self) -> Iterator[V]:
        """Yield values."""
        return chain.from_iterable(one.items.values() for one in self.partitions.values())

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(one.items for one in self.partitions.values())

    def __len__(self) -> int:
        return sum(len(one.items) for one in self.partitions.values())

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartitionedMap) and not any(self.changes(other))

    def changes(self, before: Self) -> Iterator[tuple[K, V | None, V | None]]:
        """Yield the keys whose values differ, with the value before and now; None: there is none.

        Items that both share are not looked at.
        """
        was = {id(one.items): one.items for one in before.partitions.values()}
        now_is = {id(one.items): one.items for one in self.partitions.values()}
        old = _merged(was[one] for one in was.keys() - now_is)
        new = _merged(now_is[one] for one in now_is.keys() - was)
        for key, value in old.items():
            now = new.get(key)
            if now is not value and now != value:
                yield key, value, now
        for key, value in new.items():
            if key not in old:
                yield key, None, value

    def divide(self, prefix: str) -> list[str]:
        """Divide a partition so that parts have MOST_ITEMS or a few more; return their prefixes.

        One that cannot be divided stays as it is.
        """
        held = self.partitions[prefix].items
        deeper = len(prefix) + max((len(held) // MOST_ITEMS).bit_length(), 1)
        if len(held) == 1 or deeper > _BITS:
            return [prefix]
        width = deeper - len(prefix)
        made = {f"{prefix}{number:0{width}b}": Partition[K, V]({}) for number in range(2**width)}
        for key, value in held.items():
            made[self._place(key)[:deeper]].items[key] = value
        del self.partitions[prefix]
        self.partitions.update(made)
        self._own.discard(prefix)
        self._own.update(made)
        self._depth = max(self._depth, deeper)
        return list(made)

    def store(self, prefix: str, content: str, size: int) -> None:
        """Note that a partition is stored, in this map alone."""
        self.partitions[prefix] = Partition(self.partitions[prefix].items, content, size)
        self._own.discard(prefix)

    def fill(self, prefix: str, items: dict[K, V]) -> None:
        """Give a partition that is stored its items, which were read."""
        self.partitions[prefix] = replace(self.partitions[prefix], items=items)

    def merge(self) -> None:
        """Make all one partition, which is not stored."""
        self.replace({"": Partition(dict(self.items()))})
        self._own = {""}

    def replace(self, partitions: Mapping[str, Partition[K, V]]) -> None:
        """Hold other partitions, whose prefixes are complete."""
        self.partitions = dict(partitions)
        self._own = set()
        self._depth = max(map(len, partitions))

    def _owned(self, key: K) -> dict[K, V]:
        """Return the items among which a key is or will be, for a change."""
        prefix = self._prefix(key)
        if prefix not in self._own:
            self.partitions[prefix] = Partition(dict(self.partitions[prefix].items))
            self._own.add(prefix)
        return self.partitions[prefix].items

    def _prefix(self, key: K) -> str:
        place = self._place(key)
        for length in range(self._depth, -1, -1):
            if place[:length] in self.partitions:
                return place[:length]
        raise AssertionError(place)  # is_complete


def is_complete(prefixes: list[str]) -> bool:
    """Return True if each place has one of the prefixes, and only one."""
    if not all(set(one) <= {"0", "1"} and len(one) <= _BITS for one in prefixes):
        return False
    disjoint = all(not after.startswith(one) for one, after in pairwise(sorted(prefixes)))
    return disjoint and sum(2 ** (_BITS - len(one)) for one in prefixes) == 2**_BITS


def place_of_digest(digest: Digest) -> str:
    """Return the place of a digest: how it begins."""
    return f"{int(digest.hex[: _BITS // 4], 16):0{_BITS}b}"


def place_of_name(name: str) -> str:
    """Return the place of a name."""
    return f"{crc32(name.encode()):0{_BITS}b}"


def _merged[K, V](parts: Iterator[dict[K, V]]) -> dict[K, V]:
    found: dict[K, V] = {}
    for one in parts:
        found.update(one)
    return found
