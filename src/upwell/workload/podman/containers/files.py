"""Files of a container, out of the tar archive that the runtime makes of them.

Who runs in the container decides what is in the archive: its size and its number of entries are
limited while it arrives, links and devices are left out, and nothing is unpacked to the disk.
"""

import asyncio
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO

from upwell.workload.errors import RuntimeUnavailableError, UnreadableFilesError
from upwell.workload.interface import ContainerFile, FileLimits

_OVERHEAD_BYTES = 1024 * 1024
_ENTRY_OVERHEAD_BYTES = 4096
"""Headers and padding of one entry, with a long name."""
_SPOOLED_BYTES = 1024 * 1024


async def collect(pieces: AsyncIterator[bytes], limits: FileLimits) -> Sequence[ContainerFile]:
    """Return the regular files of an archive, ordered by path.

    Raises UnreadableFilesError, or RuntimeUnavailableError when it is to be asked for again.
    `pieces` is left where it is as soon as a limit is passed: the caller closes it.
    """
    largest = limits.content_bytes + limits.entries * _ENTRY_OVERHEAD_BYTES + _OVERHEAD_BYTES
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as archive:
        size = 0
        async for piece in pieces:
            size += len(piece)
            if size > largest:
                raise _too_large(limits)
            await asyncio.to_thread(archive.write, piece)
        if not size:  # even an archive of nothing has an end
            raise RuntimeUnavailableError("podman sent an empty archive: the container changes")
        archive.seek(0)
        return await asyncio.to_thread(_read, archive, limits)


def _read(archive: IO[bytes], limits: FileLimits) -> Sequence[ContainerFile]:
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            return sorted(_files(tar, limits), key=lambda one: one.path)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UnreadableFilesError(f"the archive is damaged: {error}") from error


def _files(tar: tarfile.TarFile, limits: FileLimits) -> Iterator[ContainerFile]:
    left = limits.content_bytes
    for number, member in enumerate(tar):
        if number >= limits.entries:
            raise UnreadableFilesError(f"more than {limits.entries} files and folders")
        # The size that a sparse file claims is the one that it would be read with.
        left -= member.size if member.isreg() else 0
        if left < 0:
            raise _too_large(limits)
        # Of what lies in a volume, Podman makes absolute names.
        path = PurePosixPath(member.name.lstrip("/"))
        if not member.isreg() or ".." in path.parts:
            continue
        if (content := tar.extractfile(member)) is not None:
            yield ContainerFile(str(path), content.read(), member.mtime)


def _too_large(limits: FileLimits) -> UnreadableFilesError:
    return UnreadableFilesError(f"larger than {limits.content_bytes} bytes")
