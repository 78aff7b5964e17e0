"""Clones by the command git: bare and shallow, so that nothing of a repository is ever run."""

import asyncio
import math
import re
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from upwell.git.access import check_address, without_login
from upwell.git.cache import GitCache, limited, reference_name
from upwell.git.commands import MAX_LISTING, GitCommands, GitProgram
from upwell.git.interface import GitError, GitLimits, GitSource
from upwell.gitops.interface import (
    HISTORY,
    MAX_FILE_BYTES,
    Author,
    BranchCommit,
    Draft,
    RepositoryError,
    TreeFile,
)
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import SYSTEM_PATH, Launcher, ProcessResult
from upwell.outbound.dialing import Dialer

_MAX_AUTHOR = 100
"""Characters of a name, which is shown where it must not do anything to a terminal."""
_LIMITS = GitLimits(seconds=120, tree_bytes=1024**3, cache_bytes=2 * 1024**3)
_MOVED = re.compile(
    r"\[rejected\]|fetch first|non-fast-forward|cannot lock ref|failed to update ref|"
    r"incorrect old value|reference already exists",
)
_ASK_SECONDS = 30.0
"""Of the first question to a host: one that is away must not hold up others for long."""
_NO_MATCH = 1
"""Exit code of `git grep` and `git merge-base --is-ancestor` that means no."""


class GitRepositories:
    """Repositories by git, kept between uses in `folder`; implements GitOpsRepositories.

    `allow_local` lets addresses name repositories on this machine's disk. `dialer` connects to
    them; without one, git does it by itself.
    """

    def __init__(
        self,
        folder: Path,
        author: Author,
        *,
        allow_local: bool = False,
        limits: GitLimits = _LIMITS,
        dialer: Dialer | None = None,
    ) -> None:
        self._dialer = dialer
        self._work = folder.absolute() / "work"
        self._author = author
        self._allow_local = allow_local
        self._limits = limits
        self._launcher = Launcher(str(self._work))
        self._cache = GitCache(folder.absolute() / "clones", limits.cache_bytes)
        shutil.rmtree(self._work, ignore_errors=True)  # what a killed process left

    @asynccontextmanager
    async def open(self, source: GitSource) -> AsyncIterator["GitClone"]:
        """Open the repository that `source` names, with its login; raises RepositoryError."""
        folder = PrivateFolder(self._work / token_hex(8))
        failure: Exception | None = None
        try:
            source = without_login(source)
            folder.create()
            program = self._program(folder)
            check_address(source.uri, allow_local=self._allow_local)
            async with program.network(source) as network:
                git = program.commands(source, folder, folder.path, network)
                async with self._cache.mirror(git.source) as mirror:
                    clone = GitClone(replace(git, tree=mirror), folder, self._limits)
                    await clone.prepare()
                    try:
                        yield clone
                    except (RepositoryError, GitError):
                        raise
                    except Exception as error:  # noqa: BLE001 - the caller's own: the clone is sound
                        failure = error
        except GitError as error:
            raise RepositoryError(f"{source.shown_uri}: {error}") from error
        finally:
            folder.remove()
        if failure is not None:
            raise failure

    def _program(self, folder: PrivateFolder) -> GitProgram:
        environment = {
            "PATH": SYSTEM_PATH,
            "HOME": str(folder.path),
            "LC_ALL": "C.UTF-8",
            "GIT_INDEX_FILE": str(folder.path / "index"),
            "GIT_AUTHOR_NAME": self._author.name,
            "GIT_AUTHOR_EMAIL": self._author.email,
            "GIT_COMMITTER_NAME": self._author.name,
            "GIT_COMMITTER_EMAIL": self._author.email,
        }
        return GitProgram(
            self._launcher, environment, allow_local=self._allow_local, dialer=self._dialer
        )


@dataclass(frozen=True, slots=True)
class GitClone:
    """One open repository; implements RepositoryClone."""

    git: GitCommands
    folder: PrivateFolder
    limits: GitLimits

    async def prepare(self) -> None:
        """Make the bare repository, if it is not there."""
        self.git.tree.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.git.tree / "HEAD").exists():
            await self._git("init", "--quiet", "--bare", ".")

    async def tips(self, branches: Collection[str]) -> dict[str, str]:
        """Ask which commits the remote's branches are at."""
        wanted = [f"refs/heads/{name}" for name in branches]
        outcome = await self._try(
            "ls-remote", "--", self.git.source.uri, *wanted, seconds=_ASK_SECONDS
        )
        if outcome.code != 0:
            raise self._error(outcome)
        listing = outcome.output
        found = {
            name.removeprefix("refs/heads/"): commit
            for commit, tab, name in (line.partition("\t") for line in listing.splitlines())
            if tab
        }
        return {name: found[name] for name in branches if name in found}

    async def fetch(self, branches: Collection[str]) -> dict[str, str]:
        """Get branches that exist, with their newest history; return what they are at."""
        references = {name: reference_name(name) for name in branches}
        if not references:
            return {}
        await self._fetch([f"+refs/heads/{name}:{kept}" for name, kept in references.items()])
        listing = await self._git("show-ref", "--verify", "--", *references.values())
        found = (line.split()[0] for line in listing.splitlines())
        return dict(zip(references, found, strict=True))

    async def _fetch(self, wanted: Collection[str]) -> None:
        shallow = ("fetch", "--quiet", f"--depth={HISTORY}", "--no-tags", "--no-auto-maintenance")
        try:
            async with limited(self.git.tree, self.limits.tree_bytes):
                await self._git(*shallow, "--", self.git.source.uri, *wanted)
        except GitError as error:
            # What is too large must not be the ground that the next fetch is measured from.
            await asyncio.to_thread(shutil.rmtree, self.git.tree, ignore_errors=True)
            await self.prepare()
            raise RepositoryError(f"{self.git.source.shown_uri}: {error}") from error

    async def history(self, commit: str) -> Sequence[BranchCommit]:
        """Return the newest commits of a fetched branch, the newest first."""
        form = "--format=%H%x00%an%x00%(trailers:only,unfold)%x00%x01"
        listing = await self._git("log", f"--max-count={HISTORY}", form, commit, "--")
        found = []
        for entry in listing.split("\x01")[:-1]:
            name, author, trailers, _ = entry.strip("\n").split("\0")
            pairs = (line.partition(": ") for line in trailers.splitlines())
            shown = "".join(c for c in author if c.isprintable())[:_MAX_AUTHOR]
            found.append(
                BranchCommit(name, shown, {key: value for key, colon, value in pairs if colon})
            )
        return found

    async def touched(self, commit: str, paths: Collection[str]) -> str:
        """Return the newest commit at or before `commit` that changed one of the paths."""
        argv = ("log", "--max-count=1", "--format=%H", commit, "--", *paths)
        return (await self._git(*argv)).strip()

    async def contains(self, commit: str, other: str) -> bool:
        """Return True if `other` is `commit`, or is known to stand in its history."""
        outcome = await self._try("merge-base", "--is-ancestor", other, commit)
        return outcome.code == 0

    async def tree(self, commit: str, path: str) -> Sequence[TreeFile]:
        """Return all files at a path and below it; none when there is no such path."""
        argv = ("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", path)
        listing = await self._git(*argv)
        found = []
        for entry in listing.split("\0")[:-1]:
            about, _, name = entry.partition("\t")
            mode, _, blob, size = about.split()
            found.append(TreeFile(name, blob, mode, int(size) if size.isdecimal() else 0))
        return found

    async def containing(self, commit: str, path: str, words: Collection[str]) -> set[str]:
        """Return the paths of the files at and below `path` that hold one of the words."""
        if not words:
            return set()
        options = [part for word in words for part in ("-e", word)]
        argv = ("grep", "--name-only", "-z", "--fixed-strings", *options, commit, "--", path)
        outcome = await self._try(*argv)
        if outcome.code not in {0, _NO_MATCH}:
            raise self._error(outcome)
        return {name.removeprefix(f"{commit}:") for name in outcome.output.split("\0")[:-1]}

    async def read(self, file: TreeFile) -> str:
        """Return a file's text."""
        text = await self._git("cat-file", "blob", file.blob, limit=MAX_FILE_BYTES)
        if "\ufffd" in text:
            raise RepositoryError(f"{self.git.source.shown_uri}: {file.path} is not UTF-8")
        return text

    async def commit(self, draft: Draft) -> str:
        """Make a commit, here alone; return its id."""
        await self._git("read-tree", draft.parent)
        for file, text in draft.files.items():
            content = self.folder.path / "content"
            await asyncio.to_thread(content.write_bytes, text.encode())
            blob = (
                await self._git("hash-object", "-w", "--no-filters", "--", str(content))
            ).strip()
            entry = f"{file.mode},{blob},{file.path}"
            await self._git("update-index", "--cacheinfo", entry)
        tree = (await self._git("write-tree")).strip()
        message = self.folder.write("message", draft.message)
        argv = ("commit-tree", tree, "-p", draft.parent, "-F", str(message))
        return (await self._git(*argv)).strip()

    async def push(self, commit: str, branch: str) -> bool:
        """Move the remote's branch forward to `commit`; False when it has moved meanwhile."""
        goal = f"{commit}:refs/heads/{branch}"
        outcome = await self._try("push", "--porcelain", "--", self.git.source.uri, goal)
        if outcome.code == 0:
            return True
        refused = next((line for line in outcome.output.splitlines() if line[:1] == "!"), "")
        if _MOVED.search(refused):
            return False
        if refused:
            why, _ = self.git.fault(replace(outcome, tail=outcome.tail.strip() or refused))
            reason = refused.rpartition("\t")[2]
            raise RepositoryError(
                f"{self.git.source.shown_uri}: {branch} takes no commit: {reason} {why}"
            )
        raise self._error(outcome)

    async def _git(self, *argv: str, limit: int = MAX_LISTING) -> str:
        outcome = await self._try(*argv, limit=limit)
        if outcome.code != 0:
            raise self._error(outcome)
        return outcome.output

    async def _try(
        self, *argv: str, limit: int = MAX_LISTING, seconds: float = math.inf
    ) -> ProcessResult:
        try:
            async with self.git.within(min(seconds, self.limits.seconds)):
                return await self.git.capture("--literal-pathspecs", *argv, limit=limit)
        except GitError as error:
            raise RepositoryError(str(error)) from error

    def _error(self, outcome: ProcessResult) -> RepositoryError:
        return RepositoryError(f"{self.git.source.shown_uri}: {self.git.fault(outcome)[0]}")
