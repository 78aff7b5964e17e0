"""Reading of a backup: everything is checked before anything takes its place.

The file may have come a long way: no member leaves the folder that it is unpacked into, by its name
or by a link before it, and each file has the digest that was written down when it was saved.
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from upwell.backup.interface import (
    DATA,
    DIGESTS,
    FORMAT,
    HEADER,
    BackupError,
    BackupHeader,
    Progress,
    no_progress,
)
from upwell.machine.folder import remove_deep

_CHUNK = 1024 * 1024
_HEADER_BYTES = 64 * 1024
_DIGESTS_BYTES = 1024**3
"""150 bytes a file."""


def read_header(path: Path) -> BackupHeader:
    """Return what a backup says of itself; raises BackupError."""
    with _opened(path) as tar:
        return _header(tar, path)


def check_backup(path: Path, progress: Progress = no_progress) -> BackupHeader:
    """Read a whole backup and compare each digest; raises BackupError."""
    return _read(path, None, progress)


def unpack(path: Path, folder: Path, progress: Progress = no_progress) -> BackupHeader:
    """Unpack a backup into a new folder; nothing of it is left when it is not whole.

    Raises BackupError.
    """
    try:
        folder.mkdir(mode=0o700)
        return _read(path, folder, progress)
    except OSError as error:
        remove_deep(folder)
        place = error.filename or folder
        raise BackupError(f"{place} was not written: {error.strerror or error}") from error
    except BaseException:
        remove_deep(folder)
        raise


def _read(path: Path, folder: Path | None, progress: Progress) -> BackupHeader:
    total = path.stat().st_size
    found: dict[str, str] = {}
    digests: dict[str, Any] | None = None
    modes: list[tuple[Path, tarfile.TarInfo]] = []
    with _opened(path) as tar:
        header = _header(tar, path)
        while (info := tar.next()) is not None:
            progress(min(info.offset, total), total)
            if info.name == DIGESTS:
                digests = json.loads(_small(tar, info, _DIGESTS_BYTES))
                continue
            name = _name(info, path)
            place = None if folder is None else _place(folder, name, path)
            if info.isreg():
                found[info.name] = _take(tar, info, place)
            elif place is not None and folder is not None:
                _make(info, place, folder, path)
            if place is not None and not info.issym() and not info.islnk():
                modes.append((place, info))
    _compare(found, digests, path)
    for place, info in reversed(modes):  # folders last: theirs may forbid to write into them
        _own(place, info)
    return header


def _header(tar: tarfile.TarFile, path: Path) -> BackupHeader:
    info = tar.next()
    if info is None or info.name != HEADER:
        raise BackupError(f"{path} was not written by `upwell backup`")
    try:
        return BackupHeader.of_document(json.loads(_small(tar, info, _HEADER_BYTES)))
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} is no backup of the format {FORMAT}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BackupError(f"{path} is damaged, or no backup: {error}") from error
    except FileNotFoundError as error:
        if error.filename != str(path):
            raise
        raise BackupError(f"{path} does not exist") from error


def _small(tar: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    content = tar.extractfile(info) if info.size <= limit else None
    if content is None:
        raise ValueError(f"{info.name} is too large")
    return content.read()


def _name(info: tarfile.TarInfo, path: Path) -> PurePosixPath:
    """Return a member's path below the data folder; raises BackupError for any other place."""
    name = PurePosixPath(info.name)
    if (
        name.is_absolute()
        or ".." in name.parts
        or name.parts[:1] != (DATA,)
        or name.parts == (DATA,)
    ):
        raise BackupError(f"{path} has a member of the name {info.name!r}: it is no backup of ours")
    if not (info.isreg() or info.isdir() or info.issym() or info.islnk() or info.isfifo()):
        raise BackupError(f"{path} has {info.name!r}, which is no file: it is no backup of ours")
    return name.relative_to(DATA)


def _place(folder: Path, name: PurePosixPath, path: Path) -> Path:
    """Return where a member goes; its folder is made. Raises BackupError behind a link."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not place.parent.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{path} has {str(name)!r} behind a link: it is no backup of ours")
    return place


def _take(tar: tarfile.TarFile, info: tarfile.TarInfo, place: Path | None) -> str:
    """Write a file's content where it goes, if anywhere; return its digest."""
    content = tar.extractfile(info)
    assert content is not None  # noqa: S101 - it is a regular file
    digest = hashlib.sha256()
    if place is None:
        _copy(content, digest.update)
        return digest.hexdigest()
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:

        def write(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        _copy(content, write)
    return digest.hexdigest()


def _copy(content: IO[bytes], write: Any) -> None:
    while piece := content.read(_CHUNK):
        write(piece)


def _make(info: tarfile.TarInfo, place: Path, folder: Path, path: Path) -> None:
    """Make a folder, link or pipe."""
    if info.isdir():
        place.mkdir(mode=0o700, exist_ok=True)
    elif info.issym():
        place.symlink_to(info.linkname)
        if os.geteuid() == 0:
            os.lchown(place, info.uid, info.gid)
    elif info.isfifo():
        os.mkfifo(place, 0o600)
    else:
        target = PurePosixPath(info.linkname)
        if target.is_absolute() or ".." in target.parts or target.parts[:1] != (DATA,):
            raise BackupError(f"{path} links to {info.linkname!r}: it is no backup of ours")
        source = _place(folder, target.relative_to(DATA), path)
        os.link(source, place, follow_symlinks=False)


def _own(place: Path, info: tarfile.TarInfo) -> None:
    """Give a file its owner, mode and time; without root's rights it stays its restorer's."""
    if os.geteuid() == 0:
        os.chown(place, info.uid, info.gid, follow_symlinks=False)
    place.chmod(info.mode)
    os.utime(place, (info.mtime, info.mtime), follow_symlinks=False)


def _compare(found: dict[str, str], digests: dict[str, Any] | None, path: Path) -> None:
    if digests is None:
        raise BackupError(f"{path} was cut: its end is missing. Take another backup")
    expected = digests.get("sha256")
    if expected == found:
        return
    names = sorted(
        name
        for name in {*found, *(expected if isinstance(expected, dict) else ())}
        if not isinstance(expected, dict) or found.get(name) != expected.get(name)
    )
    raise BackupError(f"{path} is damaged: {', '.join(names[:3])} is not what was saved")


def move_into(unpacked: Path, folder: Path, last: tuple[str, ...]) -> None:
    """Move what was unpacked into a folder, files of the names `last` after all others.

    `unpacked` lies on the same file system. Raises OSError.
    """
    names = sorted(path.name for path in unpacked.iterdir())
    for name in sorted(
        names, key=lambda name: (name in last, last.index(name) if name in last else 0)
    ):
        (unpacked / name).rename(folder / name)
    os.sync()
    shutil.rmtree(unpacked, ignore_errors=True)
