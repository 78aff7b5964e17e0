"""Reads of bodies: larger ones from who sends them fast, and what they have brought.

A layer of 64 MiB comes in a quarter of the turns of the loop that it takes with reads of the least.
"""

from typing import Self

LEAST_BYTES = 64 * 1024
"""Of one read: what is parsed before other connections have their turn."""
MOST_BYTES = 256 * 1024
MOST_CHUNKED_BYTES = 128 * 1024
"""Of a chunked body, which may have so many parts that more would hold the loop."""
MOST_LARGER_BYTES = 4 * 1024 * 1024
"""Of all connections together, beyond the least of each."""


def next_size(size: int, received: int, *, chunked: bool) -> int:
    """Return the size to read after `received` bytes of a body came for a read of `size`."""
    if received < size // 4:
        return LEAST_BYTES
    most = MOST_CHUNKED_BYTES if chunked else MOST_BYTES
    return min(2 * size, most) if received >= size else min(size, most)


class BodyPieces:
    """Body that has come and that nobody has taken yet, as it was read: nothing is copied.

    It stands in for the bytearray of uvicorn's cycle, which copies each byte twice.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def __iadd__(self, piece: bytes) -> Self:
        self._pieces.append(piece)
        self._size += len(piece)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
