"""Fetches source trees with git, trusting neither the repository nor the address."""

import asyncio
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.git.access import check_address, secrets
from upwell.git.cache import GitCache, limited, reference_name
from upwell.git.commands import GitCommands, GitProgram
from upwell.git.interface import CommitInfo, GitError, GitLimits, GitSource
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import LogSink, ProcessResult
from upwell.machine.redaction import Redaction

_COMMIT_OR_PART = re.compile(r"[0-9a-f]{7,64}")
_REF = re.compile(r"[^-\x00-\x20~^:?*\[\\\x7f][^\x00-\x20~^:?*\[\\\x7f]*")
_BRANCH_OF_HEAD = re.compile(r"^ref: refs/heads/(\S+)\tHEAD$", re.MULTILINE)
_ASK_SECONDS = 60.0
_MAX_COMMIT = 1024 * 1024


class GitClient:
    """Client of git that fetches one commit at a time, by way of a cache if there is one."""

    def __init__(
        self, program: GitProgram, limits: GitLimits, cache_folder: Path | None = None
    ) -> None:
        self._program = program
        self._limits = limits
        self._cache = GitCache(cache_folder, limits.cache_bytes) if cache_folder else None

    async def fetch(
        self, source: GitSource, folder: PrivateFolder, tree: Path, log: LogSink
    ) -> CommitInfo:
        """Fill the empty folder `tree`, as shallow as the server allows; raises GitError."""
        if source.ref and _REF.fullmatch(source.ref) is None:
            raise GitError(f"not a git ref: {source.ref!r}")
        check_address(source.uri, allow_local=self._program.allow_local)
        async with self._program.network(source) as network:
            git = self._program.commands(source, folder, tree, network)
            return await self._fetch(git, log)

    async def default_branch(self, source: GitSource, folder: PrivateFolder) -> str:
        """Return the branch that HEAD of a repository names; empty: none, or it is not told.

        `folder` is for what git needs of `source`. Raises GitError.
        """
        tree = folder.empty("asked")
        async with self._program.network(source) as network:
            git = self._program.commands(source, folder, tree, network)
            async with git.within(_ASK_SECONDS):
                # In a repository of its own: it looks for settings of one in the folders above.
                await git.capture("init", "--quiet", "--bare", ".")
                outcome = await git.capture("ls-remote", "--symref", "--", git.source.uri, "HEAD")
        found = _BRANCH_OF_HEAD.search(outcome.output) if outcome.code == 0 else None
        return found[1] if found else ""

    async def _fetch(self, git: GitCommands, log: LogSink) -> CommitInfo:
        redaction = Redaction(log, secrets(git.source))
        redaction(f"Cloning {git.source.shown_uri} at {git.source.ref or 'HEAD'} ...\n".encode())
        try:
            async with (
                git.within(self._limits.seconds),
                limited(git.tree, self._limits.tree_bytes),
            ):
                await self._clone(_Checkout(git, redaction))
                revision = await _revision(git)
            redaction(f"Commit {revision.commit} {revision.message}\n".encode())
        finally:
            redaction.flush()
        return revision

    async def _clone(self, run: "_Checkout") -> None:
        source = run.git.source
        ref = source.ref or "HEAD"
        await run("init", "--quiet", ".")
        outcome = await self._fetch_shallow(ref, run)
        target = "FETCH_HEAD"
        if outcome.code != 0 and _COMMIT_OR_PART.fullmatch(ref):
            # Servers know no abbreviations, and may refuse commits that no ref names: look inside.
            target = ref
            refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            outcome = await run("fetch", "--quiet", "--", source.uri, *refs)
        if outcome.code == 0:
            outcome = await run("checkout", "--quiet", "--detach", target, "--")
        if outcome.code == 0 and source.submodules and _has_submodules(run.git.tree):
            outcome = await run(
                "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"
            )
        if outcome.code != 0:
            why, transient = run.git.fault(outcome)
            message = f"Failed to fetch the input source {source.shown_uri}: {why}"
            raise GitError(message, retryable=transient)
        await _fetch_large_files(run)

    async def _fetch_shallow(self, ref: str, run: "_Checkout") -> ProcessResult:
        """Fetch one commit by way of the mirror, if there is a cache, into FETCH_HEAD."""
        git = run.git
        shallow = ("fetch", "--quiet", "--depth=1", "--no-tags")
        if self._cache is None:
            return await run(*shallow, "--", git.source.uri, ref)
        kept = reference_name(ref)
        async with (
            self._cache.mirror(git.source) as mirror,
            limited(mirror, self._limits.tree_bytes),
        ):
            await asyncio.to_thread(mirror.mkdir, mode=0o700, parents=True, exist_ok=True)
            in_mirror = replace(run, git=replace(git, tree=mirror))
            if not await asyncio.to_thread((mirror / "FETCH_HEAD").exists):  # it is a repository
                await in_mirror("init", "--quiet", "--bare", ".")
            outcome = await in_mirror(*shallow, "--", git.source.uri, f"+{ref}:{kept}")
            if outcome.code == 0:
                # Copied, not shared: the mirror may go while the build still reads its history.
                local = {**git.environment, "GIT_ALLOW_PROTOCOL": "file"}
                copying = replace(run, git=replace(git, environment=local))
                outcome = await copying(*shallow, "--", str(mirror), kept)
        return outcome


@dataclass(frozen=True, slots=True)
class _Checkout:
    """Runs git for one fetch, and has it tell the log."""

    git: GitCommands
    log: LogSink

    async def __call__(self, *argv: str) -> ProcessResult:
        return await self.git.run(*argv, log=self.log)


async def _fetch_large_files(run: _Checkout) -> None:
    """Put the content of Git LFS in the place of its pointers, if the tree has any."""
    listing = await run.git.capture("ls-files", "-z", "--", ":(attr:filter=lfs)")
    if not listing.output:
        return
    command = "Git LFS, which the source uses,"
    if run.git.network is not None and not run.git.network.is_closed:
        raise GitError(f"{command} needs a network of its own: run the server as root")
    probe = await run.git.capture("lfs", "version")
    if probe.code != 0:
        raise GitError(f"{command} is not installed: install git-lfs")
    for argument in (("lfs", "install", "--local", "--skip-repo"), ("lfs", "pull")):
        settings = ("-c", f"remote.origin.url={run.git.source.uri}")
        outcome = await run(*settings, *argument)
        if outcome.code != 0:
            refused = run.git.network.refusal if run.git.network is not None else ""
            raise GitError(f"{command} failed: {refused or run.git.masked(outcome.last_line)}")


async def _revision(git: GitCommands) -> CommitInfo:
    form = "--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%ad%x00%s"
    outcome = await git.capture("show", "--no-patch", form, "HEAD", "--", limit=_MAX_COMMIT)
    fields = outcome.output.rstrip("\n").split("\0")
    if outcome.code != 0 or len(fields) != len(CommitInfo.__dataclass_fields__):
        raise GitError(f"cannot read the commit: {outcome.last_line}")
    return CommitInfo(*fields)


def _has_submodules(tree: Path) -> bool:
    return os.path.lexists(tree / ".gitmodules")
