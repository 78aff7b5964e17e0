"""Reads the paths, programs and scripts of a layer (image-spec, layer.md): the task of a worker."""

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, cast

from upwell.formats.bounded_tar import BoundedTar
from upwell.inventory.files.elf import MAGIC, ElfRow, UnreadableElfError, elf_row
from upwell.inventory.layer_archive import LayerTooLargeError, uncompressed

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
"""Of the file systems of old builders: names that are no whiteouts."""
_PIECE = 256 * 1024
_SCRIPT = b"#!"
_MAX_LINE = 256
_EXECUTABLE = 0o111
_XATTR = "SCHILY.xattr."
_TEXT = re.compile(
    r"(?:etc|usr/lib)/os-release|etc/(?:passwd|group)"
    r"|(?:usr/|usr/local/)?include/node/node_version\.h"
    r"|(?:usr/lib/jvm|usr/java|opt/java|opt/jdk)[^/]*/(?:[^/]+/)?release"
)
_MAX_TEXT = 128 * 1024


def run(source: IO[bytes], argument: Mapping[str, int]) -> bytes:
    """Return what `found_in` finds, as it is kept: JSON, compressed (`facts.read_facts`).

    `facts` of the argument is the limit of the JSON, in bytes. Raises ValueError beyond it.
    """
    facts = json.dumps(found_in(source, argument)).encode()
    if len(facts) > argument["facts"]:
        raise LayerTooLargeError(f"too large: its paths take over {argument['facts']} bytes")
    return zlib.compress(facts, level=1)


def found_in(source: IO[bytes], argument: Mapping[str, int]) -> Mapping[str, Any]:
    """Return the entries of a layer, and the hash of its uncompressed content.

    `argument` has the limits `unpacked` and `elf` (bytes), `entries` and `characters`: of links and
    of paths with all folders above them, which a reader may ask for. A layer that is compressed may
    unpack to `least` bytes, and to `ratio` times its own size more: a few megabytes that take
    minutes are no layer. Raises ValueError for what it cannot read.
    """
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    unpacked = min(argument["unpacked"], argument["least"] + argument["ratio"] * size)
    reading = _Reading(argument)
    try:
        with uncompressed(source) as stream:
            hashed = _HashedStream(stream, unpacked)
            for archive, entry in BoundedTar(cast("IO[bytes]", hashed), unpacked):
                reading.add(archive, entry)
            hashed.drain()
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"not a tar archive that can be read: {error}") from error
    return {
        "diff_id": f"sha256:{hashed.hash.hexdigest()}",
        "entries": reading.entries,
        "removed": sorted(reading.removed),
        "opaque": sorted(reading.opaque),
        "elf": reading.elf,
        "scripts": reading.scripts,
        "texts": reading.texts,
    }


class _HashedStream:
    """A stream that is read forward, and hashed on the way."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.hash = hashlib.sha256()
        self._stream = stream
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        content = self._stream.read(size)
        self.hash.update(content)
        return content

    def drain(self) -> None:
        """Read what follows the archive."""
        while content := self.read(_PIECE):
            self._left -= len(content)
            if self._left < 0:
                raise LayerTooLargeError("too large: its archive is followed by more than any is")


class _Reading:
    """Findings of one layer so far."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.entries: dict[str, tuple[str, int, int, int, int, str, str]] = {}
        self.removed: set[str] = set()
        self.opaque: set[str] = set()
        self.elf: dict[str, ElfRow | None] = {}
        self.scripts: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._limits = limits
        self._count = 0
        self._characters = 0

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Take an entry in; raises ValueError beyond a limit."""
        path = _normal(entry.name)
        self._bound(entry, path)
        folder, _, base = path.rpartition("/")
        if base == _OPAQUE:
            self.opaque.add(folder)
        elif base.startswith(_WHITEOUT) and not base.startswith(_RESERVED):
            name = base.removeprefix(_WHITEOUT)
            self.removed.add(f"{folder}/{name}" if folder else name)
        elif path:
            self._forget(path)
            kind, content = self._content(archive, entry, path)
            size = entry.size if entry.isreg() else 0
            owner = (entry.mode & 0o7777, entry.uid, entry.gid)
            self.entries[path] = (kind, *owner, size, content, _extended(entry))

    def _bound(self, entry: tarfile.TarInfo, path: str) -> None:
        self._count += 1
        self._characters += len(path) * (1 + path.count("/")) + len(entry.linkname)
        for name, found in (("entries", self._count), ("characters", self._characters)):
            if found > self._limits[name]:
                raise LayerTooLargeError(f"too large: over {self._limits[name]} {name}")

    def _forget(self, path: str) -> None:
        """Let the last entry of a path count alone."""
        for known in (self.elf, self.scripts, self.texts):
            known.pop(path, None)

    def _content(
        self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str
    ) -> tuple[str, str]:
        if entry.isdir():
            return "directory", ""
        if entry.issym():
            return "symlink", entry.linkname
        if entry.islnk():
            return "hardlink", _normal(entry.linkname)
        if entry.isreg() and (file := archive.extractfile(entry)) is not None:
            return "file", self._file(file, entry, path)
        return "special", f"{entry.type!r} {entry.devmajor}:{entry.devminor}"

    def _file(self, file: IO[bytes], entry: tarfile.TarInfo, path: str) -> str:
        """Hash a file, and look into those that ask for something of others."""
        pieces = _pieces(file)
        first = next(pieces, b"")
        content = hashlib.sha256(first)
        kept: io.BytesIO | None = None
        if first.startswith(MAGIC) and entry.size <= self._limits["elf"]:
            kept = io.BytesIO()
            kept.write(first)
        for piece in pieces:
            content.update(piece)
            if kept is not None:
                kept.write(piece)
        if first.startswith(MAGIC):
            self._elf(kept, path)
        elif first.startswith(_SCRIPT) and entry.mode & _EXECUTABLE:
            line = first[len(_SCRIPT) : _MAX_LINE].partition(b"\n")[0]
            self.scripts[path] = line.decode(errors="replace").strip()
        elif entry.size <= min(len(first), _MAX_TEXT) and _TEXT.fullmatch(path):
            self.texts[path] = first.decode(errors="replace")
        return content.hexdigest()

    def _elf(self, content: io.BytesIO | None, path: str) -> None:
        if content is None:
            self.elf[path] = None
            return
        try:
            row = elf_row(content)
        except UnreadableElfError:
            self.elf[path] = None
        else:
            if row is not None:
                self.elf[path] = row


def _normal(name: str) -> str:
    """Return a path relative to the root; raises ValueError for one that leaves it."""
    path = PurePosixPath(name.lstrip("/"))
    if ".." in path.parts:
        raise ValueError(f"the path {name!r} leads out of its folder")
    text = path.as_posix()
    return "" if text == "." else text


def _extended(entry: tarfile.TarInfo) -> str:
    named = sorted((k, v) for k, v in entry.pax_headers.items() if k.startswith(_XATTR))
    if not named:
        return ""
    return hashlib.sha256(repr(named).encode(errors="surrogateescape")).hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
