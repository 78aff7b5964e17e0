"""Tar archives whose headers are bounded before they are read (pax, POSIX.1-2008; GNU tar).

The module `tarfile` reads an extended header in one piece, whatever its size, keeps every entry,
and copies what a global header sets into each: a megabyte of archive may take gigabytes.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import IO, override

MAX_HEADER_BYTES = 1024 * 1024
"""Of one entry, its long names, pax records and sparse maps together."""
MAX_PATH = 4096
"""Characters of a name, as Linux has it."""
_MAX_GLOBAL_RECORDS = 100
_MAX_GLOBAL_CHARACTERS = 64 * 1024
_PIECE = 1024 * 1024


class BoundedTarError(ValueError):
    """The archive is beyond a limit; the message says which."""


class BoundedTar:
    """The entries of an uncompressed tar archive, in their order, none of which is kept.

    `stream` is read forward alone, `limit` bytes at most.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = _ForwardStream(stream, limit)

    def __iter__(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """Yield the archive, to extract the entry from, and the entry.

        Raises BoundedTarError, tarfile.TarError, or what the stream raises.
        """
        try:
            yield from self._entries()
        except RecursionError:  # `tarfile` reads the headers of an entry one inside the other
            raise BoundedTarError("an entry has more extended headers than any needs") from None
        except BoundedTarError:
            raise
        except ValueError:  # of a number in a record, which `tarfile` lets through
            raise BoundedTarError("an entry has a header that cannot be read") from None

    def _entries(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        stream = self._stream
        stream.header_bytes = MAX_HEADER_BYTES
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (entry := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # kept for no use of ours
                _check(archive, entry)
                stream.header_bytes = None
                yield archive, entry
                stream.header_bytes = MAX_HEADER_BYTES
        if any(stream.last):  # `tarfile` takes it for the end
            raise BoundedTarError("it breaks off, or goes on with what is no header")


def _check(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
    if max(len(entry.name), len(entry.linkname)) > MAX_PATH:
        raise BoundedTarError(f"an entry has a name of more than {MAX_PATH} characters")
    if entry.size < 0:
        raise BoundedTarError("an entry has less than no content")
    records = archive.pax_headers
    if len(records) > _MAX_GLOBAL_RECORDS or (
        sum(len(key) + len(value) for key, value in records.items()) > _MAX_GLOBAL_CHARACTERS
    ):
        raise BoundedTarError("its global headers are larger than any archive needs")


class _ForwardStream(io.RawIOBase):
    """A stream that is read forward, within a total and, in headers, within a budget."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._position = 0
        self.header_bytes: int | None = None
        """Bytes that may still be read of headers; None: content is read."""
        self.last = b""
        """Bytes that were read last."""

    @override
    def read(self, n: int = -1, /) -> bytes:
        most = _PIECE if self.header_bytes is None else self.header_bytes
        if not 0 <= n <= most:
            raise BoundedTarError(
                f"an entry has a header of more than {MAX_HEADER_BYTES} bytes, which none needs"
            )
        if self.header_bytes is not None:
            self.header_bytes -= n
        self.last = self._take(n)
        return self.last

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("this stream is read forward alone")
        while self._position < offset and self._take(min(offset - self._position, _PIECE)):
            pass
        return self._position

    @override
    def tell(self) -> int:
        return self._position

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    def _take(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._position += len(content)
        if self._position > self._limit:
            raise BoundedTarError(f"the archive unpacks to more than {self._limit} bytes")
        return content
