"""Writing of a backup: a tar file for its owner alone, whole or not there at all."""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from upwell.backup.interface import (
    DATA,
    DIGESTS,
    HEADER,
    BackupError,
    BackupFile,
    BackupHeader,
    BackupLimits,
    BackupTimeoutError,
    Progress,
    WrittenBackup,
    no_progress,
)
from upwell.machine import clock
from upwell.machine.private_file import require_file

_CHUNK = 1024 * 1024
_KEPT_FREE = 64 * 1024 * 1024
"""Bytes of its file system that a backup leaves: it must not fill the disk of what it saves."""


def write_backup(
    path: Path,
    header: BackupHeader,
    files: Iterable[BackupFile],
    limits: BackupLimits,
    progress: Progress = no_progress,
) -> WrittenBackup:
    """Write a new file; what was written of it is removed when anything fails.

    Files that go meanwhile are left out, those that grow or shrink are kept as long as they were.
    Raises BackupError, also when the file exists.
    """
    draft = path.with_name(f".{path.name}.part")
    require_file(path)
    if path.exists():
        raise BackupError(f"{path} exists already: name another file, or remove it")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            writer = _Writer(raw, limits, progress)
            writer.write(header, list(files))
            raw.flush()
            os.fsync(raw.fileno())
            size = raw.tell()
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise BackupError(f"{path} was not written: {error.strerror or error}") from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return WrittenBackup(header, len(writer.digests), size, tuple(writer.changed))


class _Writer:
    """One backup on its way into a file."""

    def __init__(self, raw: IO[bytes], limits: BackupLimits, progress: Progress) -> None:
        self._raw = raw
        self._limits = limits
        self._progress = progress
        self._tar = tarfile.open(  # noqa: SIM115 - closed at the end of `write`
            fileobj=raw, mode="w", format=tarfile.PAX_FORMAT
        )
        self._total = 0
        self.digests: dict[str, str] = {}
        self.changed: list[str] = []

    def write(self, header: BackupHeader, files: list[BackupFile]) -> None:
        self._total = sum(_size(file.source) for file in files)
        self._require_room()
        self._put(HEADER, header.document())
        for file in files:
            self._add(file)
        self._put(DIGESTS, {"files": len(self.digests), "sha256": self.digests})
        self._tar.close()

    def _put(self, name: str, document: object) -> None:
        content = json.dumps(document, indent=1).encode()
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(content), 0o600, int(clock.now().timestamp())
        self._tar.addfile(info, io.BytesIO(content))

    def _add(self, file: BackupFile) -> None:
        name = f"{DATA}/{file.name}"
        try:
            mode = file.source.lstat().st_mode
            if stat.S_ISREG(mode):
                with file.source.open("rb") as content:
                    info = self._tar.gettarinfo(arcname=name, fileobj=content)
                    self._add_content(info, content)
            elif stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or stat.S_ISFIFO(mode):
                self._tar.addfile(self._tar.gettarinfo(str(file.source), name))
            # Sockets belong to a process that runs, and devices to a machine.
        except FileNotFoundError:
            self.changed.append(file.name)

    def _add_content(self, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        if info.islnk():  # another name of a file that is there
            self._tar.addfile(info)
            return
        read = _HashedFile(content, info.size, self._check)
        self._tar.addfile(info, read)
        self.digests[info.name] = read.digest
        if read.is_short:
            self.changed.append(info.name.removeprefix(f"{DATA}/"))

    def _check(self) -> None:
        """Tell of the progress, and raise BackupError at a limit."""
        done = self._raw.tell()
        self._progress(min(done, self._total), self._total)
        if self._limits.is_late():
            raise BackupTimeoutError("the time limit has passed: nothing was written")
        if self._limits.max_bytes and done > self._limits.max_bytes:
            raise BackupError(_too_large(self._limits.max_bytes, done))

    def _require_room(self) -> None:
        if self._limits.max_bytes and self._total > self._limits.max_bytes:
            raise BackupError(_too_large(self._limits.max_bytes, self._total))
        found = os.fstatvfs(self._raw.fileno())
        free = found.f_bavail * found.f_frsize - _KEPT_FREE
        if self._total > free:
            raise BackupError(
                f"the backup takes {_mib(self._total)} MiB, and its file system has room for"
                f" {_mib(max(free, 0))}: name a file on another one, or leave parts out with"
                " --without"
            )


class _HashedFile(io.RawIOBase):
    """Content of a file, as long as it was said to be, hashed as it is read."""

    def __init__(self, content: IO[bytes], size: int, check: Callable[[], None]) -> None:
        self._content = content
        self._left = size
        self._check = check
        self._hash = hashlib.sha256()
        self.is_short = False

    def read(self, size: int = -1, /) -> bytes:
        """Return the next piece; zeros in the place of what was cut meanwhile."""
        wanted = min(self._left, _CHUNK if size < 0 else size)
        piece = self._content.read(wanted)
        if len(piece) < wanted:
            self.is_short = True
            piece += bytes(wanted - len(piece))
        self._left -= wanted
        self._hash.update(piece)
        self._check()
        return piece

    @property
    def digest(self) -> str:
        """SHA-256 of what was read, hexadecimal."""
        return self._hash.hexdigest()


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _too_large(limit: int, size: int) -> str:
    return (
        f"the backup is larger than --max-size allows ({_mib(size)} of {_mib(limit)} MiB): raise"
        " it, or leave parts out with --without"
    )


def _mib(size: int) -> int:
    return -(-size // 1024**2)
