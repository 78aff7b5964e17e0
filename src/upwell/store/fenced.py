"""A store whose writes need a fence to stand: what a deposed leader decided is not written.

The fence is that of the task that writes, and of the tasks that it starts. Clients' requests have
none: every replica serves them.
"""

from collections.abc import AsyncGenerator
from contextvars import Context, ContextVar, copy_context
from typing import Protocol

from upwell.api.meta import Resource
from upwell.store.interface import (
    EVERYTHING,
    Listing,
    Selector,
    Store,
    WatchEvent,
    WatchProgress,
)


class Fence(Protocol):
    """Says whether may be written."""

    def require(self) -> None:
        """Raise a StoreError if nothing may be written any more."""
        ...


_FENCE: ContextVar[Fence | None] = ContextVar("fence", default=None)


def fenced_context(fence: Fence) -> Context:
    """Return a context for `create_task`: all that the task writes, and its own tasks, need it."""
    context = copy_context()
    context.run(_FENCE.set, fence)
    return context


class FencedStore:
    """Gives what `store` gives, and writes while the task's fence stands."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        return await self._store.get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        return await self._store.list(kind, selector)

    def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError."""
        return self._store.watch(kind, selector, since=since, progress=progress)

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises AlreadyExistsError, or the fence's error."""
        require_fence()
        return await self._store.create(resource)

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError or ConflictError, or the fence's error."""
        require_fence()
        return await self._store.update(resource)

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError or ConflictError, or the fence's error."""
        require_fence()
        return await self._store.update_status(resource)

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; raises NotFoundError or ConflictError, or the fence's error."""
        require_fence()
        await self._store.delete(kind, namespace, name, resource_version=resource_version)


def require_fence() -> None:
    """Raise the error of the task's fence if it stands no more; for writes past this store."""
    fence = _FENCE.get()
    if fence is not None:
        fence.require()
