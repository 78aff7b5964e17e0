"""JSON of objects, encoded once for all who are sent it, and sent in chunks.

A slow reader holds the chunk that it is sent, and a place in bytes that it shares with every other
reader of the same object: never a copy of its own.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

from upwell.api.codec import encode_json
from upwell.api.meta import Resource

CHUNK_BYTES = 16 * 1024
_KEPT_BYTES = 8 * 1024 * 1024
"""Of objects that nobody is sent at the moment."""


class EncodedObject(bytearray):
    """JSON of one object, which it keeps alive; never changed, but referred to weakly."""

    resource: Resource


type Piece = bytes | EncodedObject
"""Of JSON."""


class EncodedObjects:
    """Encodes objects; the same ones are encoded once while somebody is sent them, and later."""

    def __init__(self, kept_bytes: int = _KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._used: WeakValueDictionary[int, EncodedObject] = WeakValueDictionary()
        """By identity of the object: an encoded one keeps its own alive."""
        self._recent: OrderedDict[int, EncodedObject] = OrderedDict()
        self._size = 0

    def __call__(self, resource: Resource) -> EncodedObject:
        """Return the JSON of this very object."""
        place = id(resource)
        found = self._used.get(place)
        if found is None:
            found = EncodedObject(encode_json(resource).encode())
            found.resource = resource
            self._used[place] = found
        self._keep(place, found)
        return found

    def known(self, resource: Resource) -> EncodedObject | None:
        """Return the JSON of this very object if it is at hand; any thread may ask."""
        return self._used.get(id(resource))

    def _keep(self, place: int, found: EncodedObject) -> None:
        if place in self._recent:
            self._recent.move_to_end(place)
            return
        self._recent[place] = found
        self._size += len(found)
        while self._size > self._kept_bytes:
            _, oldest = self._recent.popitem(last=False)
            self._size -= len(oldest)


encoded = EncodedObjects()
"""Of this process."""


def in_chunks(pieces: Iterable[Piece], size: int = CHUNK_BYTES) -> Iterator[bytes | memoryview]:
    """Yield what `pieces` hold in chunks of at most `size` bytes; large pieces are not copied."""
    gathered: list[Piece] = []
    length = 0
    for piece in pieces:
        if length + len(piece) > size and gathered:
            yield b"".join(gathered)
            gathered, length = [], 0
        if len(piece) > size:
            view = memoryview(piece)
            yield from (view[start : start + size] for start in range(0, len(view), size))
        else:
            gathered.append(piece)
            length += len(piece)
    if gathered:
        yield b"".join(gathered)
