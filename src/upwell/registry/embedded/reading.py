"""Reads of blobs: larger ones for who takes them fast, as far as the memory for them goes."""

import time
from collections.abc import AsyncGenerator, Callable

from upwell.registry.embedded.files import run_whole, storing

LEAST_BYTES = 128 * 1024
"""Of one read; a client that is slow to take it keeps it in memory."""
MOST_BYTES = 1024 * 1024
"""Of one read; a client that turns slow has to take it in the time that one write may take."""
MOST_LARGER_BYTES = 8 * 1024 * 1024
"""Of all reads together, beyond the least of each."""
_SOON = 0.1
"""Seconds: who has taken a piece after these gets one of twice the size."""
_LATE = 0.5
"""Seconds: who takes longer gets the least again."""


class BlobReads:
    """Reads of all clients of a registry. `clock` gives seconds, from any origin.

    Each read is a way to a thread and back, which costs more than to read: with few large ones a
    pull takes a third of the processor time that it takes with many small ones.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = MOST_LARGER_BYTES

    async def chunks(
        self, repository: str, read: Callable[[int], bytes], length: int
    ) -> AsyncGenerator[bytes]:
        """Yield `length` bytes that `read` gives, or as many as there are; raises StorageError.

        Close it after use: it holds memory of others.
        """
        size = LEAST_BYTES
        while length > 0:
            larger = min(size - LEAST_BYTES, self._left)
            self._left -= larger
            try:
                with storing(repository):
                    chunk = await run_whole(read, min(length, LEAST_BYTES + larger))
                if not chunk:
                    return
                length -= len(chunk)
                since = self._clock()
                yield chunk
                del chunk  # else it is kept beside the next one
                size = _size_after(size, self._clock() - since)
            finally:
                self._left += larger


def _size_after(size: int, seconds: float) -> int:
    """Return the size of the next read after one of `size` was taken in `seconds`."""
    if seconds > _LATE:
        return LEAST_BYTES
    return min(2 * size, MOST_BYTES) if seconds < _SOON else size
