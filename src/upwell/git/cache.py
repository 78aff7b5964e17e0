"""Mirrors of repositories, so that a build fetches only what is new since the last one.

A mirror belongs to one address and one login: who comes with another login, or with none, finds
nothing of it. Every build asks the remote anyway; a mirror only spares what is there already.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.git.interface import GitError, GitSource
from upwell.machine.folder import remove_least_recent
from upwell.machine.tasks import first_error

_MAX_PACKS = 64
"""Git adds a pack with each fetch; starting anew is cheaper than repacking in a build's time."""
_KEY_BYTES = 20


@dataclass(slots=True)
class GitCache:
    """Bare, shallow repositories in `folder`, of at most `limit_bytes` together."""

    folder: Path
    limit_bytes: int
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def mirror(self, source: GitSource) -> AsyncIterator[Path]:
        """Yield the source's mirror, which may not exist yet; nobody else uses it meanwhile.

        An error inside the block removes the mirror: it might be half-written.
        """
        key = await asyncio.to_thread(_key, source)
        path = self.folder / key
        async with self._locks.setdefault(key, asyncio.Lock()):
            await asyncio.to_thread(_drop_if_broken, path)
            try:
                yield path
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
            if path.exists():
                os.utime(path)
                await asyncio.to_thread(self._evict, keep=key)

    def _evict(self, *, keep: str) -> None:
        """Remove the mirrors that were used least recently until the rest fits."""
        remove_least_recent(
            self.folder,
            self.limit_bytes,
            size_of,
            lambda name: name == keep or (name in self._locks and self._locks[name].locked()),
        )


def reference_name(ref: str) -> str:
    """Return the name under which a mirror keeps what `ref` named last."""
    return f"refs/upwell/{hashlib.sha256(ref.encode()).hexdigest()[:32]}"


@asynccontextmanager
async def limited(tree: Path, limit_bytes: int) -> AsyncIterator[None]:
    """Stop the block once `tree` has grown by more than that; raises GitError then."""
    before = await asyncio.to_thread(size_of, tree)

    async def check() -> None:
        if await asyncio.to_thread(size_of, tree) - before > limit_bytes:
            raise GitError(f"the source is larger than {limit_bytes} bytes")

    async def watch() -> None:
        while True:
            await check()
            await asyncio.sleep(1)  # the disk tells nobody that it fills

    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            yield
            await check()
            watcher.cancel()
    except ExceptionGroup as errors:
        raise first_error(errors) from None  # the block's own, or that of the limit


def size_of(tree: Path) -> int:
    """Return the bytes of all files below `tree`, some of which may go while we look."""
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def _key(source: GitSource) -> str:
    secrets = (source.username, source.password, source.ssh_private_key)
    content = "\0".join((source.uri, *secrets)).encode()
    if not any(secrets):
        return hashlib.sha256(content).hexdigest()[: 2 * _KEY_BYTES]
    # Slow on purpose: the name of a folder must not help to guess a password.
    return hashlib.scrypt(
        content, salt=b"upwell git mirror", n=2**12, r=8, p=1, dklen=_KEY_BYTES
    ).hex()


def _drop_if_broken(path: Path) -> None:
    """Remove a mirror that a killed fetch left locked or half-written, or that has become slow."""
    left_over = any(path.rglob("*.lock")) or any(path.rglob("tmp_*"))
    if left_over or len(list(path.glob("objects/pack/*.pack"))) > _MAX_PACKS:
        shutil.rmtree(path, ignore_errors=True)
