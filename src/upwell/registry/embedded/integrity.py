"""Content that the disk has changed: who knows which files are whole, and finds those that are not.

A file is taken for whole while it is as it was when its bytes were hashed last: by inode, size and
time of change. That costs one stat. What nobody has hashed in this process is hashed before it is
served, and all is hashed again in the background, since a disk that fails changes no times.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from upwell.oci import Digest
from upwell.registry.embedded.files import whole

_CHUNK = 1024 * 1024
SCRUB_BYTES = 16 * 1024 * 1024
"""Of content that is hashed in a second in the background: about a hundredth of a core."""
_SMALL_FILE = 64 * 1024
"""Bytes that one file counts as at least: opening it takes time too."""
_HASHING_THREADS = 2


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A name of content in a repository."""

    repository: str
    link: Path
    digest: Digest


type _State = tuple[int, int]
"""Size, and time of change in nanoseconds."""


class Integrity:
    """Record of which files are whole and which are not; methods are safe in threads."""

    def __init__(self) -> None:
        self._whole: dict[int, int] = {}
        """Inode -> hash of its state when its bytes were hashed."""
        self._damaged: dict[int, _State] = {}
        self._checks: dict[int, asyncio.Future[bool]] = {}
        """Inode -> check that is under way, of the event loop."""
        self._hashing = ThreadPoolExecutor(_HASHING_THREADS, "registry-hashing")

    def note_whole(self, facts: os.stat_result) -> None:
        """Note that a file's bytes were hashed, and are what they are named after."""
        self._damaged.pop(facts.st_ino, None)
        self._whole[facts.st_ino] = hash(_state(facts))

    def note_damaged(self, facts: os.stat_result) -> None:
        """Note that a file's bytes are not what they are named after."""
        self._whole.pop(facts.st_ino, None)
        self._damaged[facts.st_ino] = _state(facts)

    @property
    def has_damage(self) -> bool:
        """True if some file was found to be damaged, and has not been forgotten since."""
        return bool(self._damaged)

    def is_whole(self, facts: os.stat_result) -> bool:
        """Return True while a file is as it was when it was found to be whole."""
        return self._whole.get(facts.st_ino) == hash(_state(facts))

    def is_damaged(self, facts: os.stat_result) -> bool:
        """Return True while a file is as it was when it was found to be damaged."""
        return self._damaged.get(facts.st_ino) == _state(facts)

    def touch(self, file: Path) -> None:
        """Set a file's time of change to now; what is known of it stays."""
        before = file.stat()
        os.utime(file)
        if self.is_whole(before):
            self.note_whole(file.stat())
        elif self.is_damaged(before):
            self.note_damaged(file.stat())

    def forget(self, facts: os.stat_result) -> None:
        """Forget a file that is about to go."""
        self._whole.pop(facts.st_ino, None)
        self._damaged.pop(facts.st_ino, None)

    def check(self, file: Path, digest: Digest) -> bool:
        """Return True if a file is whole, which is found out if need be; blocks while it is hashed.

        Raises FileNotFoundError.
        """
        facts = file.stat()
        if self.is_whole(facts):
            return True
        if self.is_damaged(facts):
            return False
        return self.check_again(file, digest)

    def check_again(self, file: Path, digest: Digest) -> bool:
        """Return True if a file is whole, whatever is known of it; blocks while it is hashed.

        Raises FileNotFoundError.
        """
        facts = file.stat()
        return self._judge(facts, _digest_of(file, digest) == digest)

    async def require(self, file: Path, digest: Digest) -> bool:
        """Return what `check` does; a file is hashed once, however many ask."""
        facts = os.stat(file)  # noqa: PTH116 - microseconds
        if self.is_whole(facts):
            return True
        work = self._checks.get(facts.st_ino)
        if work is None:
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._hashing, self.check, file, digest)
            self._checks[facts.st_ino] = work
            work.add_done_callback(partial(self._end_check, facts.st_ino))
        return await whole(asyncio.shield(work))

    def _end_check(self, inode: int, work: asyncio.Future[bool]) -> None:
        del self._checks[inode]
        if not work.cancelled():
            work.exception()  # seen, whether somebody still waits for it or not

    async def scrub(
        self,
        files: Iterable[StoredFile],
        damaged: Callable[[StoredFile], None],
        rate: int = SCRUB_BYTES,
    ) -> int:
        """Hash each content once, `rate` bytes a second at most; return the bytes that were.

        `damaged` is called for each name of what is not whole any more.
        """
        seen = set[int]()
        total = 0
        for stored in files:
            with suppress(FileNotFoundError):
                facts = await asyncio.to_thread(stored.link.stat)
                if facts.st_ino not in seen:
                    seen.add(facts.st_ino)
                    total += await self._scrub_one(stored, facts, rate)
                if self.is_damaged(await asyncio.to_thread(stored.link.stat)):
                    damaged(stored)
        return total

    async def _scrub_one(self, stored: StoredFile, facts: os.stat_result, rate: int) -> int:
        hasher = hashlib.new(stored.digest.algorithm)
        chunks = _read_in_steps(stored.link)
        size = 0
        try:
            async for chunk in chunks:
                await asyncio.to_thread(hasher.update, chunk)
                size += len(chunk)
                await asyncio.sleep(len(chunk) / rate)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        await asyncio.sleep(max(0, _SMALL_FILE - size) / rate)
        after = stored.link.stat()
        if _state(after) == _state(facts) or self.is_whole(after):
            self._judge(after, hasher.hexdigest() == stored.digest.hex)
        return size

    def _judge(self, facts: os.stat_result, is_whole: bool) -> bool:  # noqa: FBT001 - the verdict
        (self.note_whole if is_whole else self.note_damaged)(facts)
        return is_whole


async def _read_in_steps(file: Path) -> AsyncIterator[bytes]:
    """Yield a file's bytes, and leave none of them in the cache of the disk."""
    with file.open("rb", buffering=0) as opened:
        while chunk := await whole(asyncio.ensure_future(asyncio.to_thread(opened.read, _CHUNK))):
            yield chunk
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _digest_of(file: Path, digest: Digest) -> Digest | None:
    """Return the digest of a file's bytes; None when the disk does not give them."""
    try:
        with file.open("rb", buffering=0) as opened:
            hasher = hashlib.file_digest(opened, digest.algorithm)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
    return Digest(digest.algorithm, hasher.hexdigest())


def _state(facts: os.stat_result) -> _State:
    return facts.st_size, facts.st_mtime_ns
