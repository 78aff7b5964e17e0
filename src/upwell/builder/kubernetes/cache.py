"""The cache of a BuildConfig: a folder on a volume that outlives the Pods of its builds.

One build at a time uses it; another beside it, and one that cannot use it, builds without. Nothing
of a build depends on it but how long it takes.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from upwell.builder.interface import BuildError
from upwell.oci import Digest

_LOCK = ".in-use"
_FREE_SHARE = 10
"""Percentage of the volume below which what is kept makes room, and no build begins on it."""

type Say = Callable[[str], None]
"""Adds a line to the log of the build."""


class CachingBuilder(Protocol):
    """Builder that keeps its images, steps and caches in the folder of a cache."""

    async def recover(self) -> None:
        """Remove what a killed build has left; raises BuildError."""
        ...

    async def prune(
        self, keep: frozenset[Digest], *, unused_for: timedelta, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Remove what is kept, but for `keep`; raises BuildError."""
        ...


def free_percentage(folder: Path) -> int:
    """Return how much of a folder's file system is free, in percent; raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * 100 // max(1, found.f_blocks)


@contextmanager
def cache_in_use(folder: Path, say: Say) -> Iterator[bool]:
    """Run the block as the only build that uses the cache; False: it is another's, or broken.

    The lock goes with the process: a Pod that is killed leaves none.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        say(f"Warning: the cache cannot be written ({error.strerror}): this build goes without it")
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Another build of this BuildConfig uses the cache: this one goes without it")
        yield False
    else:
        yield True
    finally:
        os.close(lock)


async def may_use_cache(
    builder: CachingBuilder,
    folder: Path,
    say: Say,
    free: Callable[[Path], int] = free_percentage,
) -> bool:
    """Tidy a cache up, and say whether there is room for a build; `free` is that of its volume."""
    try:
        await builder.recover()
        if free(folder) < _FREE_SHARE:
            removed = await builder.prune(frozenset(), unused_for=timedelta(0))
            say(f"The volume of the cache is full: {len(removed)} images and caches were removed")
        left = free(folder)
    except (BuildError, OSError) as error:
        say(f"Warning: the cache cannot be used ({error}): this build goes without it")
        return False
    if left < _FREE_SHARE:
        say(
            f"Warning: the volume of the cache is full ({left}% free): this build goes without it."
            " Enlarge the PersistentVolumeClaim, or remove what others have put there"
        )
        return False
    return True
