"""The fence that a task carries: what a deposed leader decided is not written.

It is that of the task that writes, and of the tasks that it starts. Clients' requests have none:
every replica serves them. The client of a cluster asks it for each write, in the last moment before
the request is sent (`ApiConnection`).
"""

from contextvars import Context, ContextVar, copy_context
from typing import Protocol


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


def require_fence() -> None:
    """Raise the error of the task's fence if it stands no more."""
    fence = _FENCE.get()
    if fence is not None:
        fence.require()
