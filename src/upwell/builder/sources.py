"""Sources of builds in folders of this machine: fetched from git, or unpacked from an upload."""

import asyncio
import shutil
from pathlib import Path

from upwell.builder.archive import ArchiveLimits
from upwell.builder.context import context_of
from upwell.builder.diagnosis import disk_pressure, is_out_of_space
from upwell.builder.folder import BuildFolder
from upwell.builder.interface import BinarySource, BuildError, Checkout
from upwell.builder.uploads import unpack_upload
from upwell.git.client import GitClient
from upwell.git.interface import GitError, GitSource
from upwell.machine.process import LogSink


class BuildSources:
    """Puts the sources of builds into a folder for each, below `folders`.

    `temporary` is the folder for files that a build's root must reach, where it is somebody else.
    """

    def __init__(
        self, folders: Path, git: GitClient, limits: ArchiveLimits, temporary: Path | None = None
    ) -> None:
        self._folders = folders
        self._git = git
        self._limits = limits
        self._temporary = temporary

    def folder(self, build_id: str) -> BuildFolder:
        """Return the folder of a build, whether or not it is there."""
        return BuildFolder(self._folders, build_id, self._temporary)

    async def fetch(self, build_id: str, source: GitSource, log: LogSink) -> Checkout:
        """Clone into the build's folder; raises BuildError."""
        folder = await self._emptied(build_id)
        folder.make_source()
        try:
            revision = await self._git.fetch(source, folder, folder.source, log)
        except GitError as error:
            if is_out_of_space(str(error)):
                raise disk_pressure(str(error)) from error
            raise BuildError("FetchSourceFailed", str(error), retryable=error.retryable) from error
        return Checkout(context_of(folder.source, source.context_dir), revision)

    async def unpack(self, build_id: str, source: BinarySource, log: LogSink) -> Checkout:
        """Put uploaded content into the build's folder; raises BuildError."""
        folder = await self._emptied(build_id)
        log(f"Using the uploaded {source.kind} as the source ...\n".encode())
        return await unpack_upload(folder, source, self._limits)

    async def _emptied(self, build_id: str) -> BuildFolder:
        """Return the build's folder, without the source of an attempt before."""
        folder = self.folder(build_id)
        await asyncio.to_thread(shutil.rmtree, folder.source, ignore_errors=True)
        folder.create()
        return folder

    def remove_all(self) -> None:
        """Remove the folders of all builds."""
        shutil.rmtree(self._folders, ignore_errors=True)
