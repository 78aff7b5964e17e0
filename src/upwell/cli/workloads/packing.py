"""Local files as a tar archive, made while it is sent (POSIX.1-1988, long names as GNU tar)."""

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.cli.workloads.file_choice import FileChoice

_BLOCK = 512
_PIECE = 256 * 1024


@dataclass
class Packing:
    """A file or folder, whose entries get names that begin with `name`; empty: the folder's own."""

    source: Path
    name: str
    choice: FileChoice = field(default_factory=FileChoice)
    owned: bool = True
    """Tells whether the entries name their owners."""
    sent: set[str] = field(default_factory=set)
    """Names of the entries so far."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the archive; raises CommandError for what cannot be read."""
        archive = self._pieces()
        try:
            while piece := await asyncio.to_thread(next, archive, b""):
                yield piece
        except OSError as error:
            where = error.filename or self.source
            raise CommandError(f"{where}: {error.strerror or error}", Exit.USAGE) from error

    def _pieces(self) -> Iterator[bytes]:
        for path, name in self._files():
            yield from self._entry(path, name)
        yield bytes(2 * _BLOCK)

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Yield files and folders, those above before those below, with their names."""
        if not self.source.is_dir():
            yield self.source, self.name
            return
        if self.name:
            yield self.source, self.name
        for where, folders, files in os.walk(self.source, onerror=_raise):
            inside = Path(where).relative_to(self.source)
            for name in sorted([*folders, *files]):
                if self.choice.leaves_out((inside / name).as_posix()):
                    if name in folders:
                        folders.remove(name)
                    continue
                yield Path(where) / name, (PurePosixPath(self.name) / inside / name).as_posix()

    def _entry(self, path: Path, name: str) -> Iterator[bytes]:
        # Of what `path` names: the file that it leads to, if that is what was asked for.
        found = path.stat() if path == self.source else path.lstat()
        entry = tarfile.TarInfo(name)
        entry.mtime, entry.mode = int(found.st_mtime), stat.S_IMODE(found.st_mode)
        if self.owned:
            entry.uid, entry.gid = found.st_uid, found.st_gid
        self.sent.add(name)
        if stat.S_ISDIR(found.st_mode):
            entry.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(found.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
        elif not stat.S_ISREG(found.st_mode):
            echo(f"warning: skipping {path}: it is neither a file, a folder nor a link", err=True)
            return
        else:
            yield from _content(path, entry)
            return
        yield _header(entry)


def _content(path: Path, entry: tarfile.TarInfo) -> Iterator[bytes]:
    # A file that has become a pipe since would hold the thread for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        entry.size = left = os.fstat(file.fileno()).st_size
        yield _header(entry)
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise CommandError(f"{path}: it has shrunk while it was read; copy it again")
            left -= len(piece)
            yield piece
    if padding := -entry.size % _BLOCK:
        yield bytes(padding)


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _raise(error: OSError) -> None:
    raise error
