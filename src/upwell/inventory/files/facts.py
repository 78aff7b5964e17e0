"""Facts of a layer as they are kept: what a worker has found, and another process reads."""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any

from upwell.inventory.interface import (
    ElfFacts,
    EntryKind,
    InventoryError,
    LayerEntry,
    LayerFiles,
)
from upwell.oci import Digest

_PIECE = 64 * 1024
_DAMAGED = "the facts of a layer are damaged"


def read_facts(source: IO[bytes], limit: int) -> LayerFiles:
    """Return the files of a layer from its facts, of at most `limit` bytes unpacked.

    Raises InventoryError for what no worker of ours writes.
    """
    unpacking = zlib.decompressobj()
    try:
        data = json.loads(unpacking.decompress(source.read(limit), limit))
    except (zlib.error, ValueError, RecursionError):
        raise InventoryError(_DAMAGED) from None
    if not unpacking.eof or unpacking.unused_data:
        raise InventoryError(_DAMAGED)
    return layer_files(data)


def facts_bytes(source: IO[bytes], limit: int) -> int:
    """Return how many bytes facts have unpacked; raises InventoryError for damaged or more.

    Nothing comes after their end: whoever copies the file copies these alone.
    """
    unpacking, size = zlib.decompressobj(), 0
    try:
        while not unpacking.eof:
            packed = unpacking.unconsumed_tail or source.read(_PIECE)
            piece = unpacking.decompress(packed, _PIECE)
            if not packed and not piece:
                raise InventoryError(_DAMAGED)
            size += len(piece)
            if size > limit:
                raise InventoryError(f"the facts of a layer take over {limit} bytes")
    except zlib.error:
        raise InventoryError(_DAMAGED) from None
    if unpacking.unused_data or source.read(1):
        raise InventoryError(_DAMAGED)
    return size


def layer_files(data: Any) -> LayerFiles:
    """Return what a worker found; raises InventoryError for what no worker of ours says."""
    try:
        return LayerFiles(
            diff_id=Digest.parse(data["diff_id"]),
            entries=_each(data["entries"], _entry),
            removed=frozenset(map(_text, data["removed"])),
            opaque=frozenset(map(_text, data["opaque"])),
            elf=_each(data["elf"], _elf),
            scripts=_each(data["scripts"], _text),
            texts=_each(data["texts"], _text),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        raise InventoryError("a worker answered what is no list of files") from None


def _each[T](data: Mapping[str, Any], read: Callable[[Any], T]) -> dict[str, T]:
    return {_text(path): read(value) for path, value in data.items()}


def _entry(row: Any) -> LayerEntry:
    kind, mode, uid, gid, size, content, extended = row
    return LayerEntry(
        EntryKind(kind),
        mode=_number(mode),
        uid=_number(uid),
        gid=_number(gid),
        size=_number(size),
        content=_text(content),
        extended=_text(extended),
    )


def _elf(row: Any) -> ElfFacts | None:
    if row is None:
        return None
    interpreter, soname, needed, required, defined = row
    return ElfFacts(
        _text(interpreter),
        _text(soname),
        tuple(map(_text, needed)),
        {_text(name): tuple(map(_text, versions)) for name, versions in required},
        frozenset(map(_text, defined)),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
