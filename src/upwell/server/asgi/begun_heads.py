"""Connections whose head has begun to arrive, and their turns at being read.

Those that wait leave in the kernel what they have sent: each costs a descriptor, and nothing in the
event loop.
"""

from collections import OrderedDict

from upwell.server.asgi.connections import TrackedConnection


class BegunHeads:
    """At most `most` that are read at once; the others have their turns by address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._read: set[TrackedConnection] = set()
        self._waiting: OrderedDict[str, OrderedDict[TrackedConnection, None]] = OrderedDict()
        """By address, in the order of their next turns."""

    def __contains__(self, tracked: TrackedConnection) -> bool:
        """Return True if it waits for its turn."""
        return tracked in self._waiting.get(tracked.address, ())

    def begin(self, tracked: TrackedConnection) -> bool:
        """Return True if it may be read now; else it waits."""
        if len(self._read) < self._most:
            self._read.add(tracked)
            return True
        self._waiting.setdefault(tracked.address, OrderedDict())[tracked] = None
        return False

    def leave(self, tracked: TrackedConnection) -> None:
        """Let it wait no longer; idempotent."""
        if (queue := self._waiting.get(tracked.address)) is not None:
            queue.pop(tracked, None)
            if not queue:
                del self._waiting[tracked.address]

    def end(self, tracked: TrackedConnection) -> TrackedConnection | None:
        """Note that its head is whole, or that it has ended; return which one is read now."""
        self._read.discard(tracked)
        if not self._waiting or len(self._read) >= self._most:
            return None
        address, queue = next(iter(self._waiting.items()))
        found = next(iter(queue))
        self._waiting.move_to_end(address)
        self.leave(found)
        self._read.add(found)
        return found
