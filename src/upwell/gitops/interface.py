"""The port: a clone of a branch or two, without a working tree."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from upwell.git.interface import GitSource

HISTORY = 100
"""Commits of a branch that are looked at."""
MAX_FILE_BYTES = 512 * 1024
"""A larger file is not read."""


class RepositoryError(Exception):
    """A repository cannot be read or written now; the message names it, and holds no secret."""


class FileKind(StrEnum):
    """Kind of an entry of a tree, for people."""

    FILE = "file"
    LINK = "symbolic link"
    SUBMODULE = "submodule"


@dataclass(frozen=True, slots=True)
class TreeFile:
    """An entry of a commit's tree."""

    path: str
    blob: str
    """Its content's object name."""
    mode: str
    """As git writes it: 100644, 100755, 120000 or 160000."""
    size: int = 0

    @property
    def kind(self) -> FileKind:
        """Return the kind that the mode says."""
        kinds = {"120000": FileKind.LINK, "160000": FileKind.SUBMODULE}
        return kinds.get(self.mode, FileKind.FILE)


@dataclass(frozen=True, slots=True)
class Author:
    """Author of commits."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class BranchCommit:
    """A commit of a branch's history."""

    id: str
    author: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    """The last lines of its message, `KEY: VALUE`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit to be made."""

    parent: str
    files: Mapping[TreeFile, str]
    """New contents of files that the parent has; all others stay."""
    message: str


class RepositoryClone(Protocol):
    """A repository, for as long as it is open. Every method raises RepositoryError."""

    async def tips(self, branches: Collection[str]) -> dict[str, str]:
        """Ask which commits the remote's branches are at; those that do not exist are left out."""
        ...

    async def fetch(self, branches: Collection[str]) -> dict[str, str]:
        """Get branches that exist, with their newest history; return what they are at."""
        ...

    async def history(self, commit: str) -> Sequence[BranchCommit]:
        """Return the newest commits of a fetched branch, the newest first."""
        ...

    async def touched(self, commit: str, paths: Collection[str]) -> str:
        """Return the newest commit at or before `commit` that changed one of the paths."""
        ...

    async def contains(self, commit: str, other: str) -> bool:
        """Return True if `other` is `commit`, or is known to stand in its history."""
        ...

    async def tree(self, commit: str, path: str) -> Sequence[TreeFile]:
        """Return all files at a path and below it; none when there is no such path."""
        ...

    async def containing(self, commit: str, path: str, words: Collection[str]) -> set[str]:
        """Return the paths of the files at and below `path` that hold one of the words."""
        ...

    async def read(self, file: TreeFile) -> str:
        """Return a file's text."""
        ...

    async def commit(self, draft: Draft) -> str:
        """Make a commit, here alone; return its id."""
        ...

    async def push(self, commit: str, branch: str) -> bool:
        """Move the remote's branch forward to `commit`; False when it has moved meanwhile."""
        ...


class GitOpsRepositories(Protocol):
    """Opens repositories. One is open once at a time: others wait."""

    def open(self, source: GitSource) -> AbstractAsyncContextManager[RepositoryClone]:
        """Open the repository that `source` names, with its login; raises RepositoryError."""
        ...
