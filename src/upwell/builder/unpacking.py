"""Unpacks archives in a worker, beneath the folder that they go to and nowhere else."""

import asyncio
from pathlib import Path

from upwell.builder.archive import ArchiveError, ArchiveLimits
from upwell.workers.interface import MIB, RefusedInputError, WorkerExcessError, WorkerLimits
from upwell.workers.runner import run_worker

_TASK = "upwell.builder.archive"
_LIMITS = WorkerLimits(memory_bytes=768 * MIB, cpu_seconds=600, wall_seconds=1800)


async def unpack(archive: Path, target: Path, limits: ArchiveLimits) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip file into the empty folder `target`.

    Files are ours, and keep their permissions. Raises ArchiveError, with the OSError of a full disk
    as its cause, or WorkerFailedError.
    """
    argument = {
        "content_bytes": limits.content_bytes,
        "entries": limits.entries,
        "any_links": limits.any_links,
    }
    try:
        file = await asyncio.to_thread(archive.open, "rb")
        folder = await asyncio.to_thread(target.resolve)
        with file:
            await run_worker(_TASK, file, argument, _LIMITS, folder)
    except RefusedInputError as error:
        raise ArchiveError(str(error)) from error
    except (WorkerExcessError, OSError) as error:
        raise ArchiveError(f"the archive cannot be unpacked: {error}") from error
