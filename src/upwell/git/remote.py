"""Refs of repositories, asked for without a fetch."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from upwell.git.commands import GitProgram
from upwell.git.interface import GitError, GitSource
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import SYSTEM_PATH, Launcher
from upwell.outbound.dialing import Dialer

_SECONDS = 30.0
_LISTING_BYTES = 64 * 1024
"""Of the few refs that a name may stand for."""


class GitCommits:
    """Commits of repositories by `git ls-remote`, with what it needs below `folder`.

    Implements CommitLookup.
    """

    def __init__(
        self, folder: Path, dialer: Dialer | None = None, *, allow_local: bool = False
    ) -> None:
        """`dialer` connects to repositories; `allow_local` lets them be on this machine's disk."""
        self._folder = folder.absolute()
        environment = {"PATH": SYSTEM_PATH, "HOME": str(self._folder), "LC_ALL": "C.UTF-8"}
        launcher = Launcher(str(self._folder))
        self._program = GitProgram(launcher, environment, allow_local=allow_local, dialer=dialer)
        shutil.rmtree(self._folder, ignore_errors=True)  # what a killed process left

    async def commit_of(self, source: GitSource) -> str:
        """Return the commit that the source's ref names now; raises GitError."""
        folder = PrivateFolder(self._folder / token_hex(8))
        try:
            await asyncio.to_thread(folder.create)
            async with self._program.network(source) as network:
                git = self._program.commands(source, folder, folder.empty("asked"), network)
                async with git.within(_SECONDS):
                    # In a repository of its own: it looks for settings in the folders above.
                    await git.capture("init", "--quiet", "--bare", ".")
                    names = tuple(_names(source.ref))
                    argv = ("ls-remote", "--", git.source.uri, *names)
                    outcome = await git.capture(*argv, limit=_LISTING_BYTES)
        finally:
            await asyncio.to_thread(folder.remove)
        if outcome.code != 0:
            why, transient = git.fault(outcome)
            raise GitError(f"{source.shown_uri}: {why}", retryable=transient)
        lines = (line.partition("\t") for line in outcome.output.splitlines())
        found = {name: commit for commit, _, name in lines}
        for name in names:
            if name in found:
                return found[name]
        what = f"no branch or tag {source.ref!r}" if source.ref else "no commit"
        raise GitError(f"{source.shown_uri} has {what}")


def _names(ref: str) -> Iterator[str]:
    """Yield the whole names that a ref may stand for, in the order in which git takes them.

    A tag comes before a branch of its name (gitrevisions(7)), and what a tag is of before itself.
    Whole, as a part of a name would match other branches.
    """
    if ref == "HEAD" or not ref:
        yield "HEAD"
        return
    places = ("",) if ref.startswith("refs/") else ("refs/", "refs/tags/", "refs/heads/")
    for place in places:
        yield f"{place}{ref}^{{}}"
        yield f"{place}{ref}"
