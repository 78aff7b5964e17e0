"""Queues by key, of which the longest gives its oldest item, at the same cost for a million."""

from collections import OrderedDict
from collections.abc import Hashable


class LongestQueues[Key: Hashable, Item: Hashable]:
    """Items in the order in which they came, by key."""

    def __init__(self) -> None:
        self._queues: dict[Key, OrderedDict[Item, None]] = {}
        self._by_length: dict[int, OrderedDict[Key, None]] = {}
        """Keys of queues so long; none of length 0."""
        self.longest = 0
        """Length of the longest queue."""
        self.count = 0
        """Number of items."""

    def add(self, key: Key, item: Item) -> None:
        """Add an item as the newest of its key."""
        queue = self._queues.setdefault(key, OrderedDict())
        queue[item] = None
        self.count += 1
        self._move(key, len(queue) - 1, len(queue))

    def remove(self, key: Key, item: Item) -> None:
        """Remove an item; raises KeyError for one that is not there."""
        queue = self._queues[key]
        del queue[item]
        self.count -= 1
        self._move(key, len(queue) + 1, len(queue))
        if not queue:
            del self._queues[key]

    def oldest(self, key: Key | None = None) -> Item | None:
        """Return the oldest item of a key, or of the key that has the most; None without one."""
        if key is None and self.longest:
            key = next(iter(self._by_length[self.longest]))
        queue = self._queues.get(key) if key is not None else None
        return next(iter(queue)) if queue else None

    def _move(self, key: Key, before: int, now: int) -> None:
        if before:
            keys = self._by_length[before]
            del keys[key]
            if not keys:
                del self._by_length[before]
        if now:
            self._by_length.setdefault(now, OrderedDict())[key] = None
        if now > self.longest or (before == self.longest and before not in self._by_length):
            self.longest = now
