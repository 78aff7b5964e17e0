"""Changes of indexes that wait for one another: those of one repository are written together.

A write takes three requests after one another, and one alone can be under way. So changes that come
meanwhile share the next one, each decided on what those before it leave.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from upwell.registry.bucket.index import RepositoryIndex

MOST_TOGETHER = 64
"""Changes of one write."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingChange[T]:
    """Change of an index, and what becomes of it; one whose caller is gone is not begun."""

    change: Callable[[RepositoryIndex], T]
    outcome: asyncio.Future[T]
    context: Context = field(default_factory=copy_context)
    """Of the caller, with the fence of a leader."""

    def is_allowed(self, fence: Callable[[], None]) -> bool:
        """Return True if the caller's fence lets them write now; else they are told its error."""
        try:
            self.context.run(fence)
        except Exception as error:  # noqa: BLE001 - raised to who asked for the change
            self.fail(error)
            return False
        return True

    def fail(self, error: BaseException) -> None:
        """Tell the caller of an error, unless they know already."""
        if self.outcome.done():
            return
        if isinstance(error, asyncio.CancelledError):
            self.outcome.cancel()
        else:
            self.outcome.set_exception(error)


@dataclass(frozen=True, slots=True)
class ChangeVerdict:
    """Verdict on a change, which holds if the index was what it was taken for."""

    pending: PendingChange[Any]
    result: Any
    error: Exception | None

    def tell(self) -> None:
        """Tell the caller."""
        if self.error is not None:
            self.pending.fail(self.error)
        elif not self.pending.outcome.done():
            self.pending.outcome.set_result(self.result)


async def drafted(
    known: RepositoryIndex, changes: Sequence[PendingChange[Any]]
) -> tuple[RepositoryIndex, Sequence[ChangeVerdict]]:
    """Return what changes make of an index, one after another; one that raises changes nothing."""
    draft, verdicts = known.copy(), list[ChangeVerdict]()
    for pending in changes:
        trial = draft.copy()
        try:
            verdicts.append(ChangeVerdict(pending, pending.change(trial), None))
        except Exception as error:  # noqa: BLE001 - raised to who asked for the change
            verdicts.append(ChangeVerdict(pending, None, error))
        else:
            draft = trial
        await asyncio.sleep(0)  # some look at the whole index
    return draft, verdicts


type WriteChanges = Callable[[str, Sequence[PendingChange[Any]]], Awaitable[None]]
"""Writes changes of a repository, and tells each caller; raises what all the others are told."""


class ChangeQueue:
    """Changes of all repositories, by name; each has one write at a time."""

    def __init__(self, write: WriteChanges) -> None:
        self._write = write
        self._waiting: dict[str, deque[PendingChange[Any]]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}

    async def make[T](self, name: str, change: Callable[[RepositoryIndex], T]) -> T:
        """Make a change, and return its result or raise its error.

        Who is cancelled while it waits, changes nothing; a write that has begun goes on, as others
        may have a part in it.
        """
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        pending = PendingChange(change, outcome)
        self._waiting.setdefault(name, deque()).append(pending)
        if name not in self._writers:
            writing = self._write_all(name)
            # Of no caller: what only one of them may do, or may not, is asked of each change.
            self._writers[name] = asyncio.create_task(writing, context=Context())
        return await outcome

    async def _write_all(self, name: str) -> None:
        waiting = self._waiting[name]
        try:
            while waiting:
                taken = [waiting.popleft() for _ in range(min(MOST_TOGETHER, len(waiting)))]
                wanted = [one for one in taken if not one.outcome.done()]
                try:
                    if wanted:
                        await self._write(name, wanted)
                except BaseException as error:
                    for one in wanted:
                        one.fail(error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            # Without an await since the queue was looked at: none joins it unseen.
            del self._writers[name], self._waiting[name]
            for one in waiting:
                one.outcome.cancel()
