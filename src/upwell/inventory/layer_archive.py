"""Reads the package databases out of a layer (image-spec, layer.md): the task of a worker."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, cast

from upwell.formats.bounded_tar import BoundedTar
from upwell.inventory.databases import (
    PackageRow,
    is_database,
    may_hold_databases,
    parse_database,
)
from upwell.inventory.zstd import ZstdReader, begins_with_zstd

_GZIP = b"\x1f\x8b"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class LayerTooLargeError(ValueError):
    """The layer is beyond a limit; the message names it."""


def run(source: IO[bytes], argument: Mapping[str, int]) -> Mapping[str, Any]:
    """Return the packages by database, and the paths that the layer hides, of its lower layers.

    `argument` has the limits `unpacked` and `database` (bytes), `entries` and `packages`. Raises
    ValueError for what cannot be read.
    """
    reading = _Reading(argument)
    try:
        with uncompressed(source) as stream:
            for archive, entry in BoundedTar(stream, argument["unpacked"]):
                reading.add(archive, entry)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"not a tar archive that can be read: {error}") from error
    return {"databases": reading.databases, "hidden": sorted(reading.hidden)}


def uncompressed(file: IO[bytes]) -> IO[bytes]:
    """Open what gzip or zstd may have compressed, whatever the media type says."""
    first = file.read(4)
    file.seek(0)
    if begins_with_zstd(first):
        return cast("IO[bytes]", ZstdReader(file))
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if first.startswith(_GZIP) else file


class _Reading:
    """Findings of one layer so far."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.databases: dict[str, list[PackageRow]] = {}
        """Packages by the path of the database."""
        self.hidden: set[str] = set()
        """Paths below which nothing of the lower layers is left; "" is the root."""
        self._limits = limits
        self._entries = 0
        self._packages = 0

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Take an entry in; raises ValueError beyond a limit."""
        self._entries += 1
        if self._entries > self._limits["entries"]:
            raise LayerTooLargeError(f"too large: over {self._limits['entries']} entries")
        path = PurePosixPath(entry.name.lstrip("/")).as_posix()
        folder, _, base = path.rpartition("/")
        if base.startswith(_WHITEOUT):
            self._hide(folder, base)
        elif entry.isfile() and is_database(path):
            self._read(archive, entry, path)

    def _hide(self, folder: str, base: str) -> None:
        hidden = folder
        if base != _OPAQUE:
            name = base.removeprefix(_WHITEOUT)
            hidden = f"{folder}/{name}" if folder else name
        if is_database(hidden) or may_hold_databases(hidden):
            self.hidden.add(hidden)
            self._count(len(self.hidden))

    def _read(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
        if entry.size > self._limits["database"]:
            raise LayerTooLargeError(
                f"too large: {path} has more than {self._limits['database']} bytes"
            )
        content = archive.extractfile(entry)
        if content is None:
            return
        text = b"".join(_pieces(content)).decode(errors="replace")
        found = parse_database(path, text)
        self._packages += len(found)
        self.databases[path] = found
        self._count(self._packages + len(self.databases))

    def _count(self, found: int) -> None:
        if found > self._limits["packages"]:
            raise LayerTooLargeError(f"too large: over {self._limits['packages']} packages")


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(64 * 1024):
        yield piece
