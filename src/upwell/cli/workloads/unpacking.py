"""Archives of containers, unpacked here: what they say is somebody else's.

Nothing is written outside the destination, and nothing through a link below it: neither one of
the archive, since none is made, nor one that was there. Links, devices and pipes are left out.
"""

import asyncio
import os
import posixpath
import stat
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import IO, BinaryIO

from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.file_choice import FileChoice
from upwell.formats.bounded_tar import BoundedTar, BoundedTarError

MAX_ENTRIES = 1_000_000
"""Files and folders, those above an entry with them."""
_MAX_NAMES = 128 * 1024 * 1024
"""Characters of all paths, which are kept in memory."""
_PIECE = 1024 * 1024
_MAX_REST = 1024 * 1024
"""Bytes after the archive's end, which fill its last record."""


@dataclass
class Unpacking:
    """Unpacks entries whose names begin with `prefix` to `destination`, in place of the prefix."""

    prefix: str
    destination: Path
    max_bytes: int
    choice: FileChoice = field(default_factory=FileChoice)
    modes: bool = True
    """Tells whether the entries' permissions are kept; never their owners, nor set-user-ID."""
    tell: Callable[[str], None] = lambda _: None
    written: set[str] = field(default_factory=set)
    """Paths below the destination, of all that the archive has; of the destination itself empty."""
    _entries: int = 0
    _names: int = 0
    _bytes: int = 0
    """Written; links make these more than the archive has."""

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        """Unpack an archive as it comes; raises CommandError, also for one that is hostile."""
        reading, writing = os.pipe()
        source = os.fdopen(reading, "rb")
        working = asyncio.create_task(asyncio.to_thread(self._work, source))
        try:
            with os.fdopen(writing, "wb", buffering=0) as sink, suppress(BrokenPipeError):
                # Without a reader, what has come is enough, or the reader has failed.
                async for piece in pieces:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[await asyncio.to_thread(sink.write, rest) :]
        except BaseException:
            with suppress(CommandError):  # it misses the rest
                await working
            raise
        await working

    def _work(self, source: BinaryIO) -> None:
        with source:
            try:
                self._unpack(source)
                rest = 0
                while (piece := source.read(_PIECE)) and rest <= _MAX_REST:
                    rest += len(piece)
            except (BoundedTarError, tarfile.TarError) as error:
                raise CommandError(
                    f"the container's archive cannot be unpacked: {error}"
                ) from error
            except OSError as error:
                where = error.filename or self.destination
                raise CommandError(f"{where}: {error.strerror or error}") from error

    def _unpack(self, source: BinaryIO) -> None:
        for archive, entry in BoundedTar(source, self.max_bytes):
            self._count()
            path = self._path(entry.name)
            if self.choice.leaves_out(path):
                continue
            if not path and not entry.isdir() and self.destination.is_dir():
                path = posixpath.basename(self.prefix.rstrip("/"))
            self._remember(path)
            target = self.destination / path if path else self.destination
            if path and (why := self._blocked(path)):
                echo(f"warning: skipping {target}: {why}", err=True)
            elif entry.isdir():
                self._make_folder(target)
                self.tell(path or ".")
            elif entry.isreg() and not entry.issparse():
                self._write(target, archive, entry)
                self.tell(path or target.name)
            elif entry.islnk():
                self._copy(target, entry)
                self.tell(path)
            else:
                echo(f"warning: skipping {target}: it is {_kind(entry)}", err=True)

    def _count(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise BoundedTarError(f"it has more than {MAX_ENTRIES} files and folders")

    def _remember(self, path: str) -> None:
        self._names += len(path)
        if self._names > _MAX_NAMES:
            raise BoundedTarError(f"its names have more than {_MAX_NAMES} characters")
        self.written.add(path)

    def _path(self, name: str) -> str:
        """Return an entry's path below the destination; raises BoundedTarError."""
        steps = [step for step in name.split("/") if step not in {"", "."}]
        if ".." in steps or "\0" in name:
            raise BoundedTarError(f"entry {name!r} leads out of it")
        above = [step for step in self.prefix.split("/") if step not in {"", "."}]
        if steps[: len(above)] != above:
            raise BoundedTarError(f"entry {name!r} is not below {self.prefix!r}")
        return "/".join(steps[len(above) :])

    def _blocked(self, path: str) -> str:
        """Return why a path cannot be written; empty if it can."""
        at = self.destination
        steps = path.split("/")
        for number, step in enumerate(steps, 1):
            at /= step
            try:
                mode = at.lstat().st_mode
            except FileNotFoundError:
                return ""
            except NotADirectoryError:
                return f"{at.parent} is no folder"
            if stat.S_ISLNK(mode):
                return f"{at} is a symlink here"
            if number == len(steps) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return "it is neither a file nor a folder here"
        return ""

    def _make_folder(self, path: Path) -> None:
        self._make_folders_above(path)
        path.mkdir(exist_ok=True)

    def _make_folders_above(self, path: Path) -> None:
        missing = list(takewhile(lambda folder: not folder.exists(), path.parents))
        for folder in reversed(missing):
            self._count()
            folder.mkdir(exist_ok=True)

    def _write(self, path: Path, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        content = archive.extractfile(entry)
        with self._opened(path, entry.mode) as file:
            if content is not None:
                with _removed_unless_whole(path):
                    self._fill(file, content)
        if self.modes and _is_time(entry.mtime):
            os.utime(path, (entry.mtime, entry.mtime))

    def _copy(self, path: Path, entry: tarfile.TarInfo) -> None:
        """Make a file of an entry that is a hard link to one before it."""
        other = self._path(entry.linkname)
        origin = self.destination / other if other else self.destination
        if other not in self.written or origin == path or self._blocked(other):
            echo(f"warning: skipping {path}: it is a link to {entry.linkname!r}", err=True)
            return
        if not origin.is_file():
            echo(f"warning: skipping {path}: {entry.linkname!r} was left out", err=True)
            return
        with origin.open("rb") as content, self._opened(path, entry.mode) as file:
            self._fill(file, content)

    def _fill(self, file: BinaryIO, content: IO[bytes]) -> None:
        while piece := content.read(_PIECE):
            self._bytes += len(piece)
            if self._bytes > self.max_bytes:
                raise BoundedTarError(f"the archive unpacks to more than {self.max_bytes} bytes")
            file.write(piece)

    def _opened(self, path: Path, mode: int) -> BinaryIO:
        self._make_folders_above(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        kept = mode & 0o777 if self.modes else 0o666
        # The destination itself may be a link of the user's; nothing below it.
        flags |= 0 if path == self.destination else os.O_NOFOLLOW
        descriptor = os.open(path, flags, kept | stat.S_IWUSR | stat.S_IRUSR)
        return os.fdopen(descriptor, "wb")


@contextmanager
def _removed_unless_whole(path: Path) -> Iterator[None]:
    """Remove a file that is only half there after an error: nobody is to take it for the whole."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
        raise


def _kind(entry: tarfile.TarInfo) -> str:
    if entry.issym():
        return f"a symlink to {entry.linkname!r}"
    return "a sparse file" if entry.issparse() else "a special file"


def _is_time(seconds: float) -> bool:
    return 0 <= seconds < 2**33
