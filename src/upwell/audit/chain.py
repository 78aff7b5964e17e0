"""A hash chain of lines: each has its number and the SHA-256 of the line before; pure.

A line is one JSON object. `seq` counts from 1; `prev` is the hexadecimal digest of the bytes of the
line before, without its line feed, and of nothing (64 zeros) for the first.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BEGINNING = "0" * 64
MAX_LINE_BYTES = 64 * 1024
"""No line is longer: what reads one may stop there."""


@dataclass(frozen=True, slots=True)
class Link:
    """The last line of a chain: what the next one follows."""

    seq: int = 0
    digest: str = BEGINNING

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"


class BrokenChainError(ValueError):
    """A line does not follow the one before; the message says which, and how it differs."""


def digest_of(line: bytes) -> str:
    """Return the digest of a line, without its line feed."""
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def next_line(link: Link, document: Mapping[str, Any]) -> tuple[bytes, Link]:
    """Return the line that follows `link`, with its line feed, and the link that it becomes."""
    seq = link.seq + 1
    line = json.dumps({"seq": seq, **document, "prev": link.digest}).encode()
    return line + b"\n", Link(seq, digest_of(line))


def follow(link: Link | None, line: bytes) -> tuple[Mapping[str, Any], Link]:
    """Return what a line says and the link that it becomes; `link` is None for the first one read.

    Raises BrokenChainError.
    """
    document = parse(line)
    seq, prev = document.get("seq"), document.get("prev")
    if type(seq) is not int or not isinstance(prev, str):
        raise BrokenChainError("a line without seq and prev")
    if link is not None and seq != link.seq + 1:
        raise BrokenChainError(f"line {seq} follows line {link.seq}: lines are missing or moved")
    if link is not None and prev != link.digest:
        raise BrokenChainError(f"line {link.seq} was changed: line {seq} has another digest of it")
    if link is None and seq == 1 and prev != BEGINNING:
        raise BrokenChainError("line 1 does not begin a chain")
    return document, Link(seq, digest_of(line))


def parse(line: bytes) -> Mapping[str, Any]:
    """Return the object of a line; raises BrokenChainError."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenChainError("a line that is no JSON") from error
    if not isinstance(document, dict):
        raise BrokenChainError("a line that is no JSON object")
    return document
