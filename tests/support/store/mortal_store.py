"""Store of a server that is killed at one of its writes, for tests of what a restart finds."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, override

from upwell.api.meta import Resource
from upwell.store.memory import MemoryStore


class KilledError(BaseException):
    """The process is gone: no error, so nothing of the server may catch it."""


class MortalStore(MemoryStore):
    """Dies before a write, or after one that the server does not hear of; what is written stays."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        counted: Callable[[Resource], bool] = lambda _: True,
    ) -> None:
        super().__init__(clock)
        self.writes = 0
        self.lives: int | None = None
        """Writes before it dies, at the next one and each after it; None: it does not."""
        self.unheard = False
        """The next write that changes anything is made, and is the last of this life."""
        self.deaths = 0
        self.before_write: Callable[[], None] | None = None
        """Called before each write that is counted; what it raises refuses the write."""
        self._counted = counted
        """Tells whether a status is one of those that are counted, and die."""

    @override
    async def create[R: Resource](self, resource: R) -> R:
        return await self._until_death(super().create(resource))

    @override
    async def update[R: Resource](self, resource: R) -> R:
        return await self._until_death(super().update(resource))

    @override
    async def update_status[R: Resource](self, resource: R) -> R:
        write = super().update_status(resource)
        return await (self._until_death(write) if self._counted(resource) else write)

    @override
    async def delete(self, *key: Any, **options: Any) -> Any:
        return await self._until_death(super().delete(*key, **options))

    async def _until_death[T](self, write: Coroutine[Any, Any, T]) -> T:
        if self.lives == 0:
            write.close()
            self._die(f"before write {self.writes + 1}")
        if self.before_write is not None:
            try:
                self.before_write()
            except BaseException:
                write.close()
                raise
        self.writes += 1
        if self.lives is not None:
            self.lives -= 1
        before = self._version
        made = await write
        if self.unheard and self._version != before:
            self.unheard = False
            self._die(f"after write {self.writes}")
        return made

    def _die(self, when: str) -> None:
        self.deaths += 1
        raise KilledError(when)
