"""Composes the garbage collection: what runs once a day, and what answers `upwell prune`."""

import asyncio
from collections.abc import Sequence

from starlette.routing import BaseRoute

from upwell.api.prune import PruneStatus
from upwell.policy.pruning.retention import Rules
from upwell.reconcilers.pruning import Pruning, PruningSchedule, Stores
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.server.pruning.prunes import create_routes
from upwell.settings import RetentionSettings


class PruningService:
    """Keeps all stores small."""

    def __init__(self, stores: Stores, settings: RetentionSettings) -> None:
        self._stores = stores
        self._settings = settings
        self._pruning = Pruning(stores)

    def routes(self) -> Sequence[BaseRoute]:
        """Return what the server answers."""
        return create_routes(self._prune, self._settings.rules, DEFAULT_LIMITS)

    async def run(self) -> None:
        """Prune when it is due, until cancelled; switched off, do nothing until then."""
        if self._settings.interval is None:
            await asyncio.Event().wait()
            return
        schedule = PruningSchedule(
            self._pruning, self._stores, self._settings.rules, self._settings.interval
        )
        await schedule.run()

    async def _prune(self, rules: Rules, confirm: bool) -> PruneStatus:  # noqa: FBT001 - PruneNow
        return await self._pruning.run(rules, confirm=confirm)
