"""Unpacks archives that somebody else made: nothing outside the target, no device, no bomb.

The task of a worker, whose folder is the target.
"""

import bz2
import encodings.cp437 as _names_of_zip_files  # noqa: F401 - a worker has no files to load it from
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast, override

from upwell.formats.bounded_tar import MAX_PATH, BoundedTar, BoundedTarError

_CHUNK = 1024 * 1024
_ZIP_UNIX = 3
_MAX_DIRECTORY = 64 * 1024 * 1024
"""Of a zip file, which is read in one piece."""
_MAX_DEPTH = 255
_TAR_OVERHEAD = 2
"""Headers and padding come on top of the content."""
_MAX_RATIO = 1000
_FREE_BYTES = 256 * 1024 * 1024
"""Bytes that every archive may unpack to, however small it is."""
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class ArchiveError(ValueError):
    """The archive is damaged, too large, or tries to do harm; the message names the entry."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of an archive's content."""

    content_bytes: int = 4 * 1024**3
    entries: int = 500_000
    any_links: bool = False
    """True if links may lead anywhere: only where nothing follows them on this machine."""


def run(source: IO[bytes], argument: Mapping[str, Any]) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip file into `target`, or the working folder.

    The folder is empty. Files are ours, and keep their permissions. Raises ArchiveError, or the
    OSError of a full disk.
    """
    limits = ArchiveLimits(
        argument["content_bytes"], argument["entries"], any_links=argument.get("any_links", False)
    )
    size = source.seek(0, os.SEEK_END)
    most = min(limits.content_bytes, max(_FREE_BYTES, size * _MAX_RATIO))
    writer = _Writer(
        Path(argument.get("target", ".")).resolve(), replace(limits, content_bytes=most)
    )
    source.seek(0)
    magic = source.read(6)
    source.seek(0)
    try:
        if magic.startswith(b"PK"):
            _unpack_zip(source, writer)
        else:
            _unpack_tar(source, magic, writer)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"not a tar or zip archive, or a damaged one: {error}") from error
    except BoundedTarError as error:
        raise ArchiveError(str(error)) from error
    except RuntimeError as error:  # of zipfile: encrypted, or too new
        raise ArchiveError(f"the archive cannot be unpacked: {error}") from error


def _unpack_tar(file: IO[bytes], magic: bytes, writer: "_Writer") -> None:
    for prefix, opener in _COMPRESSIONS:
        if magic.startswith(prefix):
            with opener(file) as plain:
                _unpack_plain_tar(cast("IO[bytes]", plain), writer)
            return
    _unpack_plain_tar(file, writer)


def _unpack_plain_tar(file: IO[bytes], writer: "_Writer") -> None:
    limit = _TAR_OVERHEAD * writer.limits.content_bytes + _CHUNK
    for tar, member in BoundedTar(file, limit):
        if member.isdir():
            writer.folder(member.name, member.mode)
        elif member.issym():
            writer.symlink(member.name, member.linkname)
        elif member.islnk():
            writer.hard_link(member.name, member.linkname)
        elif member.isreg() and (content := tar.extractfile(member)) is not None:
            writer.file(member.name, member.mode, content)
        else:
            raise ArchiveError(f"{member.name!r} is a device or another special file")


def _unpack_zip(file: IO[bytes], writer: "_Writer") -> None:
    with zipfile.ZipFile(_InPieces(file)) as archive:
        for info in archive.infolist():
            made_on_unix = info.create_system == _ZIP_UNIX
            mode = info.external_attr >> 16 if made_on_unix else 0
            if info.is_dir():
                writer.folder(info.filename, mode or 0o755)
            elif stat.S_ISLNK(mode):
                with archive.open(info) as content:
                    writer.symlink(info.filename, content.read(4096).decode(errors="replace"))
            elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                with archive.open(info) as content:
                    writer.file(info.filename, mode or 0o644, content)
            else:
                raise ArchiveError(f"{info.filename!r} is a device or another special file")


class _InPieces(io.RawIOBase):
    """A file that is not read in pieces beyond what the directory of a zip file may have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @override
    def read(self, n: int = -1, /) -> bytes:
        content = self._file.read(_MAX_DIRECTORY + 1 if n < 0 else min(n, _MAX_DIRECTORY + 1))
        if len(content) > _MAX_DIRECTORY:
            raise ArchiveError(f"its directory has more than {_MAX_DIRECTORY} bytes")
        return content

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    @override
    def tell(self) -> int:
        return self._file.tell()

    @override
    def seekable(self) -> bool:
        return True


class _Writer:
    """Creates entries below `root`, and counts."""

    def __init__(self, root: Path, limits: ArchiveLimits) -> None:
        self.limits = limits
        self._root = root
        self._entries = 0
        self._bytes = 0

    def folder(self, name: str, mode: int) -> None:
        path = self._place(name)
        if path != self._root:
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                path.unlink()
            path.mkdir(exist_ok=True)
            path.chmod(mode & 0o777 | 0o700)

    def file(self, name: str, mode: int, content: IO[bytes]) -> None:
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise ArchiveError(f"{name!r} is setuid or setgid")
        path = self._vacated(name)
        with path.open("xb") as file:
            while piece := content.read(_CHUNK):
                self._bytes += len(piece)
                if self._bytes > self.limits.content_bytes:
                    most = self.limits.content_bytes
                    raise ArchiveError(f"the archive unpacks to more than {most} bytes")
                file.write(piece)
        path.chmod(mode & 0o777 | 0o600)

    def symlink(self, name: str, target: str) -> None:
        path = self._vacated(name)
        inside = path.parent.relative_to(self._root)
        leads_out = target.startswith("/") or os.path.normpath(inside / target).startswith("..")
        if leads_out and not self.limits.any_links:
            raise ArchiveError(f"{name!r} is a link to {target!r}, outside the archive")
        path.symlink_to(target)

    def hard_link(self, name: str, target: str) -> None:
        origin = self._place(target)
        path = self._vacated(name)
        if not stat.S_ISREG(origin.lstat().st_mode):
            raise ArchiveError(f"{name!r} is a link to {target!r}, which is not a file")
        os.link(origin, path, follow_symlinks=False)

    def _vacated(self, name: str) -> Path:
        """Return the entry's place after what an earlier entry of that name left there."""
        path = self._place(name)
        if path.is_dir() and not path.is_symlink():
            raise ArchiveError(f"{name!r} is a folder and a file")
        path.unlink(missing_ok=True)
        return path

    def _place(self, name: str) -> Path:
        """Return where an entry goes, its folders made; none of them may be a link."""
        self._entries += 1
        if self._entries > self.limits.entries:
            raise ArchiveError(f"the archive has over {self.limits.entries} entries")
        parts = PurePosixPath(name).parts
        if len(name) > MAX_PATH or len(parts) > _MAX_DEPTH:
            raise ArchiveError(f"{name[:80]!r}… is too long or too deep a path")
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise ArchiveError(f"{name!r} is a path outside the archive")
        path = self._root
        for part in parts[:-1]:
            path /= part
            if path.is_symlink():
                raise ArchiveError(f"{name!r} lies behind a link")
            path.mkdir(exist_ok=True)
        return path / parts[-1] if parts else path
