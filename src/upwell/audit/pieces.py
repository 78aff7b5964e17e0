"""Pieces of a chain, as replicas share them: lines in their order, compressed; pure but for files.

A piece is named by its first line, as a complete file of the log is: so who has all of them in one
folder has the chain. The newest grows until it is full.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

from upwell.audit.numbered import lines_after

PIECE_BYTES = 1024 * 1024
"""Of lines, before they are compressed; at this size another piece begins."""


@dataclass(frozen=True, slots=True)
class AuditPiece:
    """Lines that follow each other."""

    first: int
    last: int
    content: bytes
    """Compressed (gzip), the same at any time."""
    is_full: bool
    """True if no line is added to it any more."""


def read_piece(path: Path, first: int, most: int) -> AuditPiece | None:
    """Return the piece that begins with line `first`, or with the first one after that is there.

    None: there is none yet. Raises OSError, BrokenChainError.
    """
    lines: list[bytes] = []
    size = begins = last = 0
    for seq, line in lines_after(path, first - 1):
        begins, last = begins or seq, seq or last
        lines.append(line + b"\n")
        size += len(line) + 1
        if seq and size >= most:
            break
    if not last:
        return None
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
        file.write(b"".join(lines))
    return AuditPiece(begins, last, packed.getvalue(), is_full=size >= most)
