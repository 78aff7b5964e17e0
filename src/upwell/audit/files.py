"""One chain of lines in files: appended as a whole or not at all, rotated, compressed, kept.

`NAME` is being written; `NAME.SEQ.gz` holds the lines from number SEQ on. Everything here blocks,
and is called by one thread at a time.
"""

import errno
import gzip
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

from upwell.audit.chain import MAX_LINE_BYTES, BrokenChainError, Link, digest_of, next_line, parse
from upwell.audit.heads import HeadSigner, is_head

_LOG = logging.getLogger(__name__)
_NUMBERED = re.compile(r"\.(\d{12})(\.gz)?")
_UNCHAINED = ".unchained"
"""Ends the name of a file of a version that wrote no chain."""
_TAIL_BYTES = 2 * MAX_LINE_BYTES


@dataclass(frozen=True, slots=True)
class AuditRetention:
    """Sizes and ages of the files of one chain."""

    file_bytes: int = 16 * 1024 * 1024
    """At this size another file begins."""
    total_bytes: int = 1024 * 1024 * 1024
    """Size of all files together, compressed; the oldest goes first."""
    age: timedelta = timedelta(days=365)
    """A file goes when its last line is older."""


class ChainFiles:
    """The files of one chain. Made by `open`."""

    def __init__(
        self,
        path: Path,
        retention: AuditRetention,
        signer: HeadSigner,
        clock: Callable[[], datetime],
    ) -> None:
        self.path = path
        self._retention = retention
        self._signer = signer
        self._clock = clock
        self._link: Link | None = None
        self._headed = 0
        """Number of the line after the last head."""

    @property
    def link(self) -> Link:
        """The last line that was written."""
        return self._link or Link()

    def append(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write lines, all or none of them; raises OSError."""
        if self._link is None:
            try:
                self._link = self._resumed()
            except (BrokenChainError, EOFError, zlib.error) as error:
                why = f"a file of it is damaged ({error}): move it away"
                raise OSError(errno.EIO, why) from error
        lines: list[bytes] = []
        link = self._link
        for document in documents:
            line, link = next_line(link, document)
            lines.append(line)
        size = _append(self.path, b"".join(lines))
        self._link = link
        if size >= self._retention.file_bytes:
            with suppress(OSError):  # the lines are written; the next append tries again
                self._rotate()

    def seal(self) -> None:
        """Write a signed head, unless nothing was written since the last; raises OSError."""
        if self._link is None or self._link.seq == self._headed:
            return
        self.append([{"time": self._time(), **self._signer.head(self._link)}])
        self._headed = self._link.seq
        with suppress(OSError):
            _sync(self.path)

    def tidy(self) -> None:
        """Compress files that are complete, and remove those that are too old or too many."""
        for older in _rotated(self.path):
            if older.suffix != ".gz":
                _compress(older)
        kept = 0
        oldest = self._clock().timestamp() - self._retention.age.total_seconds()
        for older in reversed(_rotated(self.path)):
            facts = older.stat()
            kept += facts.st_size
            if kept > self._retention.total_bytes or facts.st_mtime < oldest:
                _LOG.warning("audit log shortened", extra={"file": str(older)})
                older.unlink()
                kept -= facts.st_size

    def _resumed(self) -> Link:
        """Return what the next line follows; a half-written last line is kept, and told.

        Raises OSError.
        """
        tail = _tail(self.path)
        if not tail:
            return self._before()
        if not tail.endswith(b"\n"):
            _append(self.path, b"\n")
            tail += b"\n"
        lines = tail.removesuffix(b"\n").split(b"\n")
        damaged: list[bytes] = []
        for line in reversed(lines):
            try:
                seq = parse(line).get("seq")
            except BrokenChainError:
                damaged.append(line)
                continue
            if not isinstance(seq, int):
                self.path.rename(self.path.with_name(f"{self.path.name}{_UNCHAINED}"))
                return self._before()
            link = Link(seq, digest_of(line))
            break
        else:
            return self._set_aside()
        if any(len(line) > MAX_LINE_BYTES for line in damaged):
            return self._set_aside()
        if not damaged:
            self._headed = link.seq if is_head(parse(lines[-1])) else 0
            return link
        # A power cut has left half a line: it stays, and the chain goes on beside it.
        return self._noted(link, {"lines": len(damaged)})

    def _set_aside(self) -> Link:
        """Keep what follows the last whole line in a file of its own, and note that it is there.

        So a damage of any size is told, and no line's number comes twice. Raises OSError.
        """
        link, end = self._last_whole()
        size = self.path.stat().st_size
        aside = self.path.with_name(f"{self.path.name}.damaged-{link.seq:012d}")
        with self.path.open("rb") as file, _private_file(aside) as copy:
            file.seek(end)
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        os.truncate(self.path, end)
        link = link if link.seq else self._before()
        return self._noted(link, {"bytes": size - end, "file": aside.name})

    def _last_whole(self) -> tuple[Link, int]:
        """Return the last whole line of the file being written, and the offset of its end."""
        link, end = Link(), 0
        with self.path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                with suppress(BrokenChainError):
                    seq = parse(line).get("seq")
                    if line.endswith(b"\n") and isinstance(seq, int):
                        link, end = Link(seq, digest_of(line)), file.tell()
        return link, end

    def _noted(self, link: Link, damage: Mapping[str, Any]) -> Link:
        note = {"time": self._time(), "kind": "Damage", **damage}
        line, link = next_line(link, note)
        _append(self.path, line)
        return link

    def _before(self) -> Link:
        """Return the last line of the newest file that is complete."""
        last = Link()
        for older in reversed(_rotated(self.path)):
            with _opened(older) as file:
                for line in lines_of(file):
                    last = Link(int(parse(line).get("seq") or 0), digest_of(line))
            break
        return last

    def _rotate(self) -> None:
        link = self.link
        line, sealed = next_line(link, {"time": self._time(), **self._signer.head(link)})
        with suppress(OSError):  # a head that cannot be written is written to the next file
            _append(self.path, line)
            self._link, self._headed = sealed, sealed.seq
        with self.path.open("rb") as file:
            first = parse(file.readline(MAX_LINE_BYTES)).get("seq")
        _sync(self.path)
        self.path.rename(self.path.with_name(f"{self.path.name}.{first:012d}"))

    def _time(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")


def chain_files(path: Path) -> list[Path]:
    """Return the files of a chain in the order of their lines, that being written last."""
    return [*_rotated(path), *([path] if path.exists() else [])]


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of an opened file; raises BrokenChainError for one that has no end."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise BrokenChainError(f"a line of more than {MAX_LINE_BYTES} bytes")
        yield line.removesuffix(b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, compressed or not; raises OSError, BrokenChainError."""
    with _opened(path) as file:
        yield from lines_of(file)


def first_number(path: Path) -> int:
    """Return the number of a complete file's first line, as its name says it; 0 for another."""
    found = _NUMBERED.search(path.name)
    return int(found[1]) if found else 0


def _rotated(path: Path) -> list[Path]:
    found = [
        one
        for one in path.parent.glob(f"{path.name}.*")
        if _NUMBERED.fullmatch(one.name.removeprefix(path.name))
    ]
    plain = {one for one in found if one.suffix != ".gz"}
    # A crash may leave a file beside its compressed form: the file itself is whole.
    return sorted((one for one in found if one.with_suffix("") not in plain), key=first_number)


def _append(path: Path, data: bytes) -> int:
    """Append bytes, all or none; return the file's size. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        begun = os.fstat(descriptor).st_size
        if os.write(descriptor, data) < len(data):  # the disk has filled up: leave no half line
            os.ftruncate(descriptor, begun)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return begun + len(data)
    finally:
        os.close(descriptor)


def _tail(path: Path) -> bytes:
    """Return the last lines of a file that are whole at their beginning; all of it if none is."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except FileNotFoundError:
        return b""
    return tail if size <= _TAIL_BYTES else tail.partition(b"\n")[2] or tail


def _compress(path: Path) -> None:
    """Replace a file by its compressed form; a crash leaves the one or the other."""
    target = path.with_name(f"{path.name}.gz")
    draft = path.with_name(f"{path.name}.gz.new")
    facts = path.stat()
    with _private_file(draft) as raw:
        with (
            gzip.GzipFile(path.name, "wb", fileobj=raw, mtime=0) as packed,
            path.open("rb") as file,
        ):
            shutil.copyfileobj(file, packed)
        raw.flush()
        os.fsync(raw.fileno())
    os.utime(draft, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    draft.rename(target)
    path.unlink()


def _private_file(path: Path) -> IO[bytes]:
    """Open a file of the owner alone for writing, from its beginning; raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    return open(descriptor, "wb")  # noqa: PTH123 - the descriptor has the mode already


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
