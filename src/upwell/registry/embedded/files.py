"""Durable changes to a folder: what has been done is still done after a power cut."""

import asyncio
import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from upwell.registry.hosting import StorageError, StorageFullError


def sync_directory(path: Path) -> None:
    """Make created, renamed and removed names in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Create `path` and its parents, durably."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_temporary(directory: Path, content: bytes) -> Path:
    """Write a file with a fresh name, synced, ready to be renamed; leaves nothing when it fails."""
    make_directories(directory)
    path = directory / uuid.uuid4().hex
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def remove(path: Path) -> bool:
    """Remove a file durably; False when there is none."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_directory(path.parent)
    return True


@contextlib.contextmanager
def storing(repository: str) -> Iterator[None]:
    """Turn a failure of the file system into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError(repository) from error
        raise StorageError(f"cannot store content of {repository}: {error.strerror}") from error


async def run_whole[**P, T](function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking `function` in a thread; see `whole`."""
    return await whole(asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs)))


async def whole[T](work: asyncio.Future[T]) -> T:
    """Await the `work` of a thread; a cancellation waits until the thread is done.

    Otherwise the thread would go on writing after its caller released what guards the file.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):  # raised below, once
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # seen, so that the loop does not report it as lost
        raise
    finally:
        del work  # its error's traceback has this frame: all that was stored would wait for gc
