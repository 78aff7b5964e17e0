"""Writes of blobs: larger ones from who sends them fast, as far as the memory for them goes."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from upwell.machine.larger_pieces import LargerPieces

LEAST_BYTES = 256 * 1024
"""Of one write; a client that is slow to send it keeps it in memory."""
MOST_BYTES = 1024 * 1024
MOST_LARGER_BYTES = 4 * 1024 * 1024
"""Of all writes together that are being collected, beyond the least of each."""
_SOON = 0.1
"""Seconds: who has sent a write in these gets one of twice the size."""


class BlobWrites:
    """Writes of all clients of a registry. `clock` gives seconds, from any origin.

    Each write is a way to a thread and back, which costs more than to write a few bytes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._larger = LargerPieces(MOST_LARGER_BYTES)

    async def batches(self, body: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes]]:
        """Join pieces to batches that are worth a write; what came before a failure is yielded too.

        Close it after use: it holds memory of others.
        """
        batch: list[bytes] = []
        size, most = 0, LEAST_BYTES
        failure: Exception | None = None
        since = self._clock()
        try:
            async for piece in body:
                batch.append(piece)
                size += len(piece)
                if size >= most:
                    is_fast = self._clock() - since < _SOON
                    yield batch
                    batch, size, since = [], 0, self._clock()
                    wanted = min(2 * most, MOST_BYTES) if is_fast else LEAST_BYTES
                    most = self._larger.resized(most, wanted)
        except Exception as error:  # noqa: BLE001 - raised below, after what came before it
            failure = error
        finally:
            self._larger.resized(most, LEAST_BYTES)
        if batch:
            yield batch
        if failure is not None:
            raise failure
