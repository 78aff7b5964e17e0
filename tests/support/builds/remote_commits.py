"""Commits of repositories that are not there."""

from collections.abc import Mapping

from upwell.git.interface import GitError, GitSource


class FakeCommits:
    """Each repository has one commit at each of its refs; implements CommitLookup."""

    def __init__(self, heads: Mapping[str, str]) -> None:
        self.heads = dict(heads)
        """Commit by address."""
        self.missing: set[str] = set()
        """Refs that no repository has."""
        self.asked: list[GitSource] = []

    async def commit_of(self, source: GitSource) -> str:
        self.asked.append(source)
        if source.uri not in self.heads or source.ref in self.missing:
            raise GitError(f"{source.shown_uri}: no {source.ref or 'commit'} can be found")
        return self.heads[source.uri]
