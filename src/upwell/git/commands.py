"""The command git on one repository, in time and with what it prints bounded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.git.access import access, check_address, check_login, fault, masked, without_login
from upwell.git.interface import GitError, GitSource
from upwell.git.network import GitNetwork, git_network
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import (
    ChildCommand,
    Launcher,
    LogSink,
    OutputTooLargeError,
    ProcessResult,
)
from upwell.outbound.dialing import Dialer

MAX_LISTING = 16 * 1024 * 1024
"""Bytes of what git prints for us to read."""


@dataclass(frozen=True, slots=True)
class GitCommands:
    """Git in the folder `tree`, with the login of `source`; cancelling kills all that it began."""

    source: GitSource
    """Without a login in its address."""
    launcher: Launcher
    environment: Mapping[str, str] = field(repr=False)
    tree: Path
    network: GitNetwork | None = None

    async def run(self, *argv: str, log: LogSink) -> ProcessResult:
        """Run git, passing on what it prints."""
        return await self.launcher.run(self._command(argv), log)

    async def capture(self, *argv: str, limit: int = MAX_LISTING) -> ProcessResult:
        """Run git and keep its output of at most `limit` bytes; raises GitError."""
        try:
            return await self.launcher.capture(self._command(argv), limit)
        except OutputTooLargeError as error:
            raise GitError(f"{self.source.shown_uri}: {error}") from error

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Stop the block after that time; raises GitError then."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            message = f"{self.source.shown_uri}: git took over {seconds:g} s"
            raise GitError(message, retryable=True) from error

    def fault(self, outcome: ProcessResult) -> tuple[str, bool]:
        """Say why git failed, without secrets, and whether that may pass."""
        if self.network is not None and self.network.refusal:
            return self.network.refusal, False
        return fault(self.source, outcome)

    def masked(self, text: str) -> str:
        """Return what git has printed, without secrets."""
        return masked(text, self.source)

    def _command(self, argv: tuple[str, ...]) -> ChildCommand:
        namespace = self.network.child.namespace if self.network is not None else None
        return ChildCommand(("git", *argv), self.environment, self.tree, namespace)


@dataclass(frozen=True, slots=True)
class GitProgram:
    """Git as this machine has it; `environment` is the base of every child's environment.

    `allow_local` lets sources name repositories on this machine's disk.
    """

    launcher: Launcher
    environment: Mapping[str, str] = field(repr=False)
    allow_local: bool = False
    dialer: Dialer | None = None
    """Connects to what sources name; without one, git does it by itself."""

    def network(self, source: GitSource) -> AbstractAsyncContextManager[GitNetwork | None]:
        """Return the network in which a source is asked for; raises GitError on entry."""
        return git_network(self.dialer, without_login(source))

    def commands(
        self,
        source: GitSource,
        folder: PrivateFolder,
        tree: Path,
        network: GitNetwork | None = None,
    ) -> GitCommands:
        """Return git in `tree` with the login of `source`, whose keys are kept in `folder`.

        Raises GitError for an address or a login that is none, or is not allowed.
        """
        source = without_login(source)
        check_address(source.uri, allow_local=self.allow_local)
        check_login(source)
        environment = access(
            self.environment, folder, source, allow_local=self.allow_local, network=network
        )
        return GitCommands(source, self.launcher, environment, tree, network)
