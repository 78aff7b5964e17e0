"""Reads what zstd compressed (RFC 8878), by the library of this machine.

Every Debian has it, as dpkg needs it; Python has a module of its own from 3.14 on. The library is
loaded when this is imported, before a worker gives up the file system.
"""

import ctypes
import io
from typing import IO, override

_NAME = "libzstd.so.1"
MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Ends the magic of a frame without content, which may come first."""
_WINDOW_LOG_MAX = 100, 27
"""Parameter of the library, and bits: 128 MiB, the most that `zstd -d` takes without being told."""
_PIECE = 128 * 1024


class _Buffer(ctypes.Structure):
    """A ZSTD_inBuffer or ZSTD_outBuffer."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_NAME)
    except OSError:
        return None
    library.ZSTD_createDCtx.restype = ctypes.c_void_p
    library.ZSTD_freeDCtx.argtypes = (ctypes.c_void_p,)
    library.ZSTD_DCtx_setParameter.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    library.ZSTD_DCtx_setParameter.restype = ctypes.c_size_t
    pointer = ctypes.POINTER(_Buffer)
    library.ZSTD_decompressStream.argtypes = (ctypes.c_void_p, pointer, pointer)
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    return library


_LIBRARY = _load()


def is_readable() -> bool:
    """Return True if this machine has the library."""
    return _LIBRARY is not None


def begins_with_zstd(content: bytes) -> bool:
    """Return True for the first four bytes of what zstd compressed."""
    return content[:4] == MAGIC or (content[1:4] == _SKIPPABLE and content[0] >> 4 == 5)  # noqa: PLR2004


class ZstdReader(io.RawIOBase):
    """Content of a compressed stream, read forward; raises ValueError for what is none."""

    def __init__(self, source: IO[bytes]) -> None:
        if _LIBRARY is None:
            raise ValueError(f"zstd compressed it, and {_NAME} is not installed")
        self._library = _LIBRARY
        self._source = source
        self._context = self._library.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError
        self._checked(self._library.ZSTD_DCtx_setParameter(self._context, *_WINDOW_LOG_MAX))
        self._input = ctypes.create_string_buffer(_PIECE)
        self._given = _Buffer(ctypes.addressof(self._input), 0, 0)
        self._is_whole = True
        """True between two frames: nothing of one is missing."""

    @override
    def readable(self) -> bool:
        return True

    @override
    def close(self) -> None:
        """Give the memory of the library back."""
        if self._context:
            self._library.ZSTD_freeDCtx(self._context)
            self._context = None
        super().close()

    @override
    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, fewer only at the end."""
        if size < 0:
            raise ValueError("what zstd compressed is read in pieces")
        found = ctypes.create_string_buffer(size)
        taken = _Buffer(ctypes.addressof(found), size, 0)
        while taken.at < size:
            before = taken.at
            if self._given.at == self._given.size and not self._fill() and self._is_whole:
                break
            left = self._library.ZSTD_decompressStream(
                self._context, ctypes.byref(taken), ctypes.byref(self._given)
            )
            self._is_whole = self._checked(left) == 0
            if not self._given.size and not self._is_whole and taken.at == before:
                raise EOFError("what zstd compressed breaks off")
        return found.raw[: taken.at]

    def _fill(self) -> bool:
        """Read on; return False at the end of the source."""
        content = self._source.read(_PIECE)
        ctypes.memmove(self._input, content, len(content))
        self._given.size, self._given.at = len(content), 0
        return bool(content)

    def _checked(self, code: int) -> int:
        if self._library.ZSTD_isError(code):
            why = self._library.ZSTD_getErrorName(code).decode(errors="replace")
            raise ValueError(f"zstd cannot unpack it: {why}")
        return code
