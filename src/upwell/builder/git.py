"""Fetches source trees with git, trusting neither the repository nor the address."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.builder.context import context_of
from upwell.builder.folder import BuildFolder
from upwell.builder.git_access import (
    access,
    check_address,
    fetch_error,
    masked,
    secrets,
    without_login,
)
from upwell.builder.git_cache import GitCache, limited, reference_name
from upwell.builder.interface import BuildError, Checkout, CommitInfo, GitSource, LogSink
from upwell.builder.process import ChildCommand, Launcher, OutputTooLargeError, ProcessResult
from upwell.builder.redaction import Redaction

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT_OR_PART = re.compile(r"[0-9a-f]{7,64}")
_REF = re.compile(r"[^-\x00-\x20~^:?*\[\\\x7f][^\x00-\x20~^:?*\[\\\x7f]*")
_MAX_LISTING = 16 * 1024 * 1024
_MAX_COMMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GitLimits:
    """What one fetch may take."""

    seconds: float = 600.0
    tree_bytes: int = 4 * 1024**3
    cache_bytes: int = 8 * 1024**3
    """Of all mirrors together."""


class Git:
    """Resolves and clones; `environment` is the base of every child's environment.

    `allow_local` lets sources name repositories on this machine's disk.
    """

    def __init__(
        self,
        launcher: Launcher,
        environment: Mapping[str, str],
        *,
        allow_local: bool = False,
        limits: GitLimits | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        self._launcher = launcher
        self._environment = environment
        self._allow_local = allow_local
        self._limits = limits or GitLimits()
        self._cache = GitCache(cache_folder, self._limits.cache_bytes) if cache_folder else None

    async def resolve(self, folder: BuildFolder, source: GitSource) -> str:
        """Return the commit that the source's ref names; raises BuildError FetchSourceFailed."""
        if _COMMIT.fullmatch(source.ref):
            return source.ref
        source = without_login(source)
        self._check(source)
        ref = source.ref or "HEAD"
        wanted = [ref] if ref == "HEAD" or ref.startswith("refs/") else _candidates(ref)
        argv = ("ls-remote", "--", source.uri, *wanted, *(f"{name}^{{}}" for name in wanted))
        environment = self._access(folder, source)
        async with self._bounded(source):
            outcome = await self._capture(argv, folder.path, environment, _MAX_LISTING)
        if outcome.code != 0:
            raise fetch_error(source, outcome)
        found = {
            name: commit
            for commit, tab, name in (line.partition("\t") for line in outcome.output.splitlines())
            if tab
        }
        for name in wanted:
            # An annotated tag is listed twice: itself, and peeled to the commit that it names.
            if commit := found.get(f"{name}^{{}}") or found.get(name):
                return commit
        raise BuildError("FetchSourceFailed", f"{source.uri} has no branch or tag {ref!r}")

    async def fetch(self, folder: BuildFolder, source: GitSource, log: LogSink) -> Checkout:
        """Clone the source into the folder, as shallow as the server allows; raises BuildError."""
        source = without_login(source)
        self._check(source)
        environment = self._access(folder, source)
        redaction = Redaction(log, secrets(source))
        redaction(f"Cloning {source.uri} at {source.ref or 'HEAD'} ...\n".encode())
        try:
            async with self._bounded(source), limited(folder.source, self._limits.tree_bytes):
                await self._clone(folder, source, environment, redaction)
                revision = await self._revision(folder.source, environment)
            redaction(f"Commit {revision.commit} {revision.message}\n".encode())
        finally:
            redaction.flush()
        return Checkout(context_of(folder.source, source.context_dir), revision)

    async def _clone(
        self,
        folder: BuildFolder,
        source: GitSource,
        environment: Mapping[str, str],
        log: LogSink,
    ) -> None:
        folder.make_source()
        run = _Runner(self._launcher, folder.source, environment, log)
        ref = source.ref or "HEAD"
        await run("init", "--quiet", ".")
        outcome = await self._fetch_shallow(source, ref, run)
        target = "FETCH_HEAD"
        if outcome.code != 0 and _COMMIT_OR_PART.fullmatch(ref):
            # Servers know no abbreviations, and may refuse commits that no ref names: look inside.
            target = ref
            refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            outcome = await run("fetch", "--quiet", "--", source.uri, *refs)
        if outcome.code == 0:
            outcome = await run("checkout", "--quiet", "--detach", target, "--")
        if outcome.code == 0 and source.submodules and _has_submodules(folder.source):
            outcome = await run(
                "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"
            )
        if outcome.code != 0:
            raise fetch_error(source, outcome)
        await self._fetch_large_files(source, run)

    async def _fetch_shallow(self, source: GitSource, ref: str, run: "_Runner") -> ProcessResult:
        """Fetch one commit by way of the mirror, if there is a cache, into FETCH_HEAD."""
        shallow = ("fetch", "--quiet", "--depth=1", "--no-tags")
        if self._cache is None:
            return await run(*shallow, "--", source.uri, ref)
        kept = reference_name(ref)
        async with self._cache.mirror(source) as mirror, limited(mirror, self._limits.tree_bytes):
            await asyncio.to_thread(mirror.mkdir, mode=0o700, parents=True, exist_ok=True)
            in_mirror = replace(run, tree=mirror)
            await in_mirror("init", "--quiet", "--bare", ".")
            outcome = await in_mirror(*shallow, "--", source.uri, f"+{ref}:{kept}")
            if outcome.code == 0:
                # Copied, not shared: the mirror may go while the build still reads its history.
                local = {**run.environment, "GIT_ALLOW_PROTOCOL": "file"}
                outcome = await replace(run, environment=local)(*shallow, "--", str(mirror), kept)
        return outcome

    async def _fetch_large_files(self, source: GitSource, run: "_Runner") -> None:
        """Put the content of Git LFS in the place of its pointers, if the tree has any."""
        argv = ("ls-files", "-z", "--", ":(attr:filter=lfs)")
        listing = await self._capture(argv, run.tree, run.environment, _MAX_LISTING)
        if not listing.output:
            return
        command = "Git LFS, which the source uses,"
        probe = await self._capture(("lfs", "version"), run.tree, run.environment, _MAX_LISTING)
        if probe.code != 0:
            raise BuildError("FetchSourceFailed", f"{command} is not installed: install git-lfs")
        for argument in (("lfs", "install", "--local", "--skip-repo"), ("lfs", "pull")):
            settings = ("-c", f"remote.origin.url={source.uri}")
            outcome = await run(*settings, *argument)
            if outcome.code != 0:
                message = f"{command} failed: {masked(outcome.last_line, source)}"
                raise BuildError("FetchSourceFailed", message)

    async def _revision(self, tree: Path, environment: Mapping[str, str]) -> CommitInfo:
        argv = ("show", "--no-patch", "--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%ad%x00%s")
        outcome = await self._capture((*argv, "HEAD", "--"), tree, environment, _MAX_COMMIT)
        fields = outcome.output.rstrip("\n").split("\0")
        if outcome.code != 0 or len(fields) != len(CommitInfo.__dataclass_fields__):
            raise BuildError("FetchSourceFailed", f"cannot read the commit: {outcome.last_line}")
        return CommitInfo(*fields)

    def _check(self, source: GitSource) -> None:
        """Refuse what git would take as an option, a command or another machine's file."""
        if source.ref and _REF.fullmatch(source.ref) is None:
            raise BuildError("FetchSourceFailed", f"not a git ref: {source.ref!r}")
        check_address(source.uri, allow_local=self._allow_local)

    def _access(self, folder: BuildFolder, source: GitSource) -> dict[str, str]:
        return access(self._environment, folder, source, allow_local=self._allow_local)

    async def _capture(
        self, argv: tuple[str, ...], folder: Path, environment: Mapping[str, str], limit: int
    ) -> ProcessResult:
        command = ChildCommand(("git", *argv), environment, folder)
        try:
            return await self._launcher.capture(command, limit)
        except OutputTooLargeError as error:
            raise BuildError("FetchSourceFailed", str(error)) from error

    @asynccontextmanager
    async def _bounded(self, source: GitSource) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.seconds):
                yield
        except TimeoutError as error:
            message = f"{source.uri}: git took over {self._limits.seconds:g} s"
            raise BuildError("FetchSourceFailed", message, retryable=True) from error


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs git in one working tree."""

    launcher: Launcher
    tree: Path
    environment: Mapping[str, str]
    log: LogSink

    async def __call__(self, *argv: str) -> ProcessResult:
        return await self.launcher.run(
            ChildCommand(("git", *argv), self.environment, self.tree), self.log
        )


def _candidates(ref: str) -> list[str]:
    return [f"refs/heads/{ref}", f"refs/tags/{ref}"]


def _has_submodules(tree: Path) -> bool:
    return os.path.lexists(tree / ".gitmodules")
