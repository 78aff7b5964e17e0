"""Plans of changes of images, as clients ask for them: nothing is changed."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from upwell.api.waves.plan import ImpactPlanSpec, ImpactPlanStatus
from upwell.api.waves.wave import Wave
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.plan import MayRead, first_workloads, plan_status
from upwell.policy.waves.progress import failures
from upwell.reconcilers.waves.index import WaveIndex, WaveView

_AT_ONCE = 2
"""Plans that are made at a time: one of a large fleet takes a processor for a while."""


class PlanActions:
    """Plans from the graph that the server keeps, by the rules that its Waves go by."""

    def __init__(
        self, index: WaveIndex, clock: Callable[[], datetime], canary: CanaryRules
    ) -> None:
        self._index = index
        self._clock = clock
        self._canary = canary
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def plan(
        self, namespace: str, asked: ImpactPlanSpec, may_read: MayRead
    ) -> ImpactPlanStatus:
        """Return what the change reaches, as far as the client may read it.

        Of a Wave, that is what its status counts; other plans have workloads that name the image by
        its digest, too.
        Raises NotFoundError for a Wave that is not there.
        """
        wave = None
        if asked.wave:
            wave = await self._index.cache.store.get(Wave, "", asked.wave)
        async with self._slots:
            await self._index.ready()
            now = self._clock()
            view = (
                await self._index.look(wave.spec.image, wave.spec.digest, now, asked.builds_at_once)
                if wave is not None
                else await self._index.plan(
                    asked.image, namespace, asked.digest, now, asked.builds_at_once
                )
            )
            return await asyncio.to_thread(self._status, view, wave, may_read, now)

    def _status(
        self, view: WaveView, wave: Wave | None, may_read: MayRead, now: datetime
    ) -> ImpactPlanStatus:
        known = view.impact, view.snapshot, view.estimate
        canary, first = first_workloads(known, wave, self._canary, now)
        # A change that is only asked about has not failed anywhere yet.
        failed = failures(wave, view.impact, view.snapshot) if wave is not None else {}
        status = plan_status(view.impact, view.estimate, first, failed, may_read)
        return status.model_copy(update={"canary": canary}) if status.images else status
