"""Filling a file system, and nothing but it."""

from contextlib import suppress
from pathlib import Path

_BLOCKS = (1 << 20, 4096)
"""Bytes; small ones fill what is left by large ones."""


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as out:
        for size in _BLOCKS:
            with suppress(OSError):
                while out.write(bytes(size)) == size:
                    pass
