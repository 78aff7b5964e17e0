"""Binary inputs: uploaded content becomes a source tree."""

import asyncio
import shutil
from pathlib import PurePosixPath

from upwell.builder.archive import ArchiveError, ArchiveLimits
from upwell.builder.context import context_of
from upwell.builder.diagnosis import disk_full, disk_pressure
from upwell.builder.folder import BuildFolder
from upwell.builder.interface import BinaryKind, BinarySource, BuildError, Checkout
from upwell.builder.unpacking import unpack
from upwell.workers.interface import WorkerFailedError


async def unpack_upload(
    folder: BuildFolder, source: BinarySource, limits: ArchiveLimits
) -> Checkout:
    """Fill the build's source folder; the upload itself stays as it is. Raises BuildError."""
    folder.make_source()
    try:
        if source.kind is BinaryKind.FILE:
            place = folder.source / _file_name(source.as_file)
            await asyncio.to_thread(shutil.copyfile, source.path, place)
        else:
            await unpack(source.path, folder.source, limits)
    except WorkerFailedError as error:
        message = f"the uploaded {source.kind}: {error}"
        raise BuildError("FetchSourceFailed", message, retryable=True) from error
    except (ArchiveError, OSError) as error:
        if disk_full(error):
            raise disk_pressure(str(error)) from error
        raise BuildError("FetchSourceFailed", f"the uploaded {source.kind}: {error}") from error
    return Checkout(context_of(folder.source, source.context_dir), None)


def _file_name(text: str) -> str:
    name = PurePosixPath(text or "input").name
    if name != (text or "input") or name in {"", ".", ".."}:
        raise ArchiveError(f"{text!r} is not the name of a file (asFile)")
    return name
