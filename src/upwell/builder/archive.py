"""Unpacks archives that somebody else made: nothing outside the target, no device, no bomb."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, override

_MAX_READ = 16 * 1024 * 1024
"""The tar module reads extended headers in one piece; none is that large in good faith."""

_CHUNK = 1024 * 1024
_ZIP_UNIX = 3
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class ArchiveError(ValueError):
    """The archive is damaged, too large, or tries to do harm; the message names the entry."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of an archive's content."""

    content_bytes: int = 4 * 1024**3
    entries: int = 500_000


def unpack(archive: Path, target: Path, limits: ArchiveLimits) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip file into the empty folder `target`.

    Files are ours, and keep their permissions. Raises ArchiveError.
    """
    writer = _Writer(target.resolve(), limits)
    try:
        with archive.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic.startswith(b"PK"):
                _unpack_zip(file, writer)
            else:
                _unpack_tar(file, magic, writer)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ArchiveError(f"not a tar or zip archive, or a damaged one: {error}") from error
    except (OSError, RuntimeError, NotImplementedError) as error:  # what zipfile raises too
        raise ArchiveError(f"the archive cannot be unpacked: {error}") from error


def _unpack_tar(file: IO[bytes], magic: bytes, writer: "_Writer") -> None:
    for prefix, opener in _COMPRESSIONS:
        if magic.startswith(prefix):
            with opener(file) as plain:
                _unpack_plain_tar(plain, writer)
            return
    _unpack_plain_tar(file, writer)


def _unpack_plain_tar(file: IO[bytes] | io.BufferedIOBase, writer: "_Writer") -> None:
    with tarfile.open(fileobj=_Guarded(file, writer.limits.content_bytes), mode="r:") as tar:
        for member in tar:
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
    with zipfile.ZipFile(file) as archive:
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
                    raise _too_large(self.limits.content_bytes)
                file.write(piece)
        path.chmod(mode & 0o777 | 0o600)

    def symlink(self, name: str, target: str) -> None:
        path = self._vacated(name)
        inside = path.parent.relative_to(self._root)
        if target.startswith("/") or os.path.normpath(inside / target).startswith(".."):
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
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise ArchiveError(f"{name!r} is a path outside the archive")
        path = self._root
        for part in parts[:-1]:
            path /= part
            if path.is_symlink():
                raise ArchiveError(f"{name!r} lies behind a link")
            path.mkdir(exist_ok=True)
        return path / parts[-1] if parts else path


class _Guarded(io.BufferedIOBase):
    """A stream that refuses to be read too far or in pieces that are too large."""

    def __init__(self, stream: IO[bytes] | io.BufferedIOBase, limit: int) -> None:
        self._stream = stream
        # Headers and padding come on top of the content.
        self._limit = 2 * limit + _MAX_READ

    @override
    def read(self, n: int | None = -1, /) -> bytes:
        if n is None or not 0 <= n <= _MAX_READ:
            raise ArchiveError("the archive has a header of a size that no archive needs")
        self._check(self._stream.tell())
        return self._stream.read(n)

    @override
    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_SET:
            self._check(offset)
        return self._stream.seek(offset, whence)

    @override
    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise _too_large(self._limit)


def _too_large(limit: int) -> ArchiveError:
    return ArchiveError(f"the archive unpacks to more than {limit} bytes")
