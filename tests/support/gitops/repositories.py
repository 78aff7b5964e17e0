"""Repositories over others: counted, or with something that happens around a push."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from upwell.git.interface import GitSource
from upwell.gitops.interface import GitOpsRepositories, RepositoryClone


@dataclass
class CountedRepositories:
    """GitOpsRepositories that count how often they are opened."""

    inner: GitOpsRepositories
    opened: int = 0

    @asynccontextmanager
    async def open(self, source: GitSource) -> AsyncIterator[RepositoryClone]:
        self.opened += 1
        async with self.inner.open(source) as clone:
            yield clone


@dataclass
class InterferingRepositories:
    """GitOpsRepositories in which something happens around a push, and that note what is asked."""

    inner: GitOpsRepositories
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    asked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, source: GitSource) -> AsyncIterator[RepositoryClone]:
        async with self.inner.open(source) as clone:
            yield cast("RepositoryClone", _InterferingClone(self, clone))


@dataclass
class _InterferingClone:
    site: InterferingRepositories
    inner: RepositoryClone

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def tips(self, branches: Collection[str]) -> dict[str, str]:
        self.site.asked += branches
        return await self.inner.tips(branches)

    async def push(self, commit: str, branch: str) -> bool:
        self.site.before()
        pushed = await self.inner.push(commit, branch)
        self.site.after()
        return pushed
