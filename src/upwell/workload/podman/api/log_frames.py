"""The framing of attached output (Docker Engine API, "Stream format"): 8 bytes, then a payload.

Byte 0 names the stream, bytes 4 to 7 hold the payload's length, most significant first.
"""

_HEADER = 8
_MAX_FRAME_BYTES = 16 * 1024 * 1024
STDERR = 2
"""The stream that is standard error."""


class BadFrameError(ValueError):
    """The stream is not framed as it should be."""


class FrameReader:
    """Takes the stream apart as it arrives, in chunks of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the payloads that `chunk` completes; raises BadFrameError."""
        return [payload for _, payload in self.frames(chunk)]

    def frames(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Return what `chunk` completes: stream and payload of each; raises BadFrameError."""
        buffer, at, complete = self._buffer, 0, []
        buffer += chunk
        while len(buffer) >= (start := at + _HEADER):
            length = int.from_bytes(buffer[at + 4 : start], "big")
            if length > _MAX_FRAME_BYTES:
                raise BadFrameError(f"a frame of {length} bytes")
            if len(buffer) < start + length:
                break
            complete.append((buffer[at], bytes(buffer[start : start + length])))
            at = start + length
        del buffer[:at]
        return complete
