"""Prunes once in a while. When it last did is in a ConfigMap, so that a restart repeats nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta, format_time
from upwell.api.requests.prune import PruneStatus
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.policy.pruning.rules import RECORD_NAME, PruningRefusedError, Rules
from upwell.reconcilers.pruning.ports import Stores
from upwell.reconcilers.pruning.removal import Pruning
from upwell.registry.errors import RegistryError
from upwell.store.interface import AlreadyExistsError, NotFoundError, StoreError
from upwell.workload.errors import WorkloadError

log = logging.getLogger(__name__)

_AFTER_START = timedelta(minutes=10)
"""A server that has just started has more urgent work."""
_AFTER_FAULT = timedelta(minutes=30)
_BETWEEN_PARTS = timedelta(minutes=1)


class PruningSchedule:
    """Runs `pruning` every `interval` by `rules`; `sleep` takes seconds.

    Not while the clock is not certain: by a clock that is ahead, all is old.
    """

    def __init__(
        self,
        pruning: Pruning,
        stores: Stores,
        rules: Rules,
        interval: timedelta,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        is_certain: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_certain = is_certain
        self._pruning = pruning
        self._stores = stores
        self._rules = rules
        self._interval = interval
        self._sleep = sleep

    async def run(self) -> None:
        """Prune when it is due, until cancelled."""
        pause = _AFTER_START
        while True:
            await self._sleep(pause.total_seconds())
            try:
                pause = await self.prune_if_due()
            except PruningRefusedError as error:
                log.warning("not pruned", extra={"why": str(error)})
                pause = _AFTER_FAULT
            except (StoreError, RegistryError, WorkloadError, OSError):
                log.exception("pruning failed; it goes on later")
                pause = _AFTER_FAULT

    async def prune_now(self) -> None:
        """Prune all that may go, whenever it is due: space is short."""
        if not self._is_certain():
            return
        rules = self._rules.when_space_is_short
        status = await self._pruning.run(rules, confirm=True)
        while status.more and status.items:
            status = await self._pruning.run(rules, confirm=True)

    async def prune_if_due(self) -> timedelta:
        """Prune if the last run is long enough ago; return how long the next one has time."""
        if not self._is_certain():
            return _AFTER_START
        last = await self.last_run()
        now = self._stores.clock()
        # One in the future was written under a clock that was ahead.
        if last is not None and last <= now and now - last < self._interval:
            return self._interval - (now - last)
        status = await self._pruning.run(self._rules, confirm=True)
        if status.more and status.items:
            return _BETWEEN_PARTS
        await self._record(status, now)
        return self._interval

    async def last_run(self) -> datetime | None:
        """Return when the last whole run began; None when there was none."""
        try:
            record = await self._stores.objects.get(ConfigMap, SYSTEM_NAMESPACE, RECORD_NAME)
            return datetime.fromisoformat(record.data.get("lastRun", ""))
        except (NotFoundError, ValueError):
            return None

    async def _record(self, status: PruneStatus, now: datetime) -> None:
        data = {
            "lastRun": format_time(now),
            "removed": str(len(status.items)),
            "bytes": str(status.bytes),
        }
        meta = ObjectMeta(namespace=SYSTEM_NAMESPACE, name=RECORD_NAME)
        record = ConfigMap(metadata=meta, data=data)
        try:
            await self._stores.objects.create(record)
        except AlreadyExistsError:
            await self._stores.objects.update(record)
