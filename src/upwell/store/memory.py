"""A store that lasts as long as the process: for tests and for trying things out."""

from collections.abc import Sequence

from upwell.store.history import ChangeRecord, History
from upwell.store.local import HISTORY_LIMIT, Clock, LocalStore


class _Nowhere:
    """A journal that keeps nothing."""

    async def append(self, records: Sequence[ChangeRecord], forgotten: int) -> None:
        """Accept the records."""


class MemoryStore(LocalStore):
    """Objects in memory alone; `clock` returns the time in UTC."""

    def __init__(self, clock: Clock, *, history_limit: int = HISTORY_LIMIT) -> None:
        super().__init__(clock, _Nowhere(), History(limit=history_limit))
