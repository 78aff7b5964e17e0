"""Content that zstd compresses, by the library that the reader takes."""

import ctypes


def zstd(content: bytes) -> bytes:
    """Return one frame."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    size = ctypes.c_size_t
    library.ZSTD_compressBound.argtypes = (size,)
    library.ZSTD_compress.argtypes = (ctypes.c_char_p, size, ctypes.c_char_p, size, ctypes.c_int)
    target = ctypes.create_string_buffer(library.ZSTD_compressBound(len(content)))
    made = library.ZSTD_compress(target, len(target), content, len(content), 3)
    return target.raw[:made]
