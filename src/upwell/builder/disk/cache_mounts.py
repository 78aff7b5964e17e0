"""Caches that commands fill (`RUN --mount=type=cache`), kept from one build to the next.

A cache belongs to one BuildConfig: no build of another one finds what a build leaves there. Buildah
looks for it below its TMPDIR, which is the build's own folder: so a link there leads to the cache.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from upwell.builder.disk.room import CacheInUse, RoomOnDisk
from upwell.machine.clock import seconds
from upwell.machine.folder import remove_deep, remove_least_recent

_SHARE = 4
"""A cache may have a quarter of what all may have together."""


@dataclass(slots=True)
class CacheMounts:
    """Caches in `folder`, of at most `limit_bytes` together."""

    folder: Path
    limit_bytes: int
    disk: RoomOnDisk
    _users: Counter[str] = field(default_factory=Counter)
    _sizes: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def linked(self, key: str, temporary: Path) -> AsyncIterator[CacheInUse]:
        """Run the block with the cache of `key` where Buildah looks for it, below `temporary`.

        What has grown too large afterwards is removed: the next build begins it anew.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        path = self.folder / name
        self._users[name] += 1
        try:
            await asyncio.to_thread(_link, path, temporary)
            yield CacheInUse(path, await self._size(name))
        finally:
            self._users[name] -= 1
            self._sizes.pop(name, None)
            await asyncio.shield(self._tidy(name))

    async def prune(self, oldest: float, *, dry_run: bool) -> list[str]:
        """Remove the caches that no build has used since `oldest`; return what they are called."""
        paths = await asyncio.to_thread(_unused, self.folder, oldest)
        found = [path for path in paths if not self._users[path.name]]
        for path in () if dry_run else found:
            await asyncio.to_thread(remove_deep, path)
            self._sizes.pop(path.name, None)
        return [f"build cache {path.name}" for path in found]

    async def _tidy(self, name: str) -> None:
        path = self.folder / name
        with suppress(FileNotFoundError):
            os.utime(path, (seconds(), seconds()))
            if not self._users[name] and _is_empty(path):
                path.rmdir()
                return
            if not self._users[name] and await self._size(name) > self.limit_bytes // _SHARE:
                await asyncio.to_thread(remove_deep, path)
            for other in await asyncio.to_thread(os.listdir, self.folder):
                await self._size(other)
            await asyncio.to_thread(self._remove_least_recent)

    def _remove_least_recent(self) -> None:
        remove_least_recent(
            self.folder,
            self.limit_bytes,
            lambda path: self._sizes.get(path.name, 0),
            lambda name: self._users[name] > 0,
        )

    async def _size(self, name: str) -> int:
        """Return the bytes of a cache; only one that was in use since is counted anew.

        One that cannot be counted in time is too large.
        """
        if name not in self._sizes:
            path = self.folder / name
            # The cache of a Dockerfile without such mounts is empty: nothing has to be counted.
            filled = path.exists() and not _is_empty(path)
            found = await self.disk.bytes_of([path]) if filled else 0
            self._sizes[name] = self.limit_bytes + 1 if found is None else found
        return self._sizes[name]


def _link(path: Path, temporary: Path) -> None:
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    link = temporary / f"buildah-cache-{os.geteuid()}"
    link.unlink(missing_ok=True)  # of an earlier try
    link.symlink_to(path)


def _is_empty(path: Path) -> bool:
    with os.scandir(path) as entries:
        return next(entries, None) is None


def _unused(folder: Path, oldest: float) -> list[Path]:
    with suppress(FileNotFoundError):
        return [path for path in folder.iterdir() if path.stat().st_mtime < oldest]
    return []
