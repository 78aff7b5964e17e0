"""Waves: made when an imported image changes; their statuses say how far the change is."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from upwell.api.build import Build, BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Quarantine
from upwell.api.promotion import Promotion
from upwell.api.waves.wave import ENDED_WAVES, Wave
from upwell.controller import Controller, Result, Watch
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.waves.changes import ImageMove, new_moves
from upwell.policy.waves.estimate import Estimate, impact_and_estimate
from upwell.policy.waves.impact import Impact, PlannedChange, StepAction, roots_of
from upwell.policy.waves.progress import (
    NO_RULES,
    WaveRules,
    beyond_kept,
    has_moved_on,
    new_wave,
    superseded_status,
    wave_status,
)
from upwell.policy.waves.stop import is_of_wave, stop_quarantines
from upwell.reconcilers.waves.index import WaveIndex
from upwell.store.interface import AlreadyExistsError, NotFoundError

log = logging.getLogger(__name__)

_PAUSE = 2.0
"""Seconds between two looks at one Wave, at the least."""
_SHARE = 20
"""Part of the time between two looks that one takes, at most: one in so many."""
_MISSED = timedelta(hours=1)
"""Age of a change that is still looked at after a start: the server ended before it had a Wave."""


class Waves:
    """Reconciles Waves."""

    def __init__(
        self,
        index: WaveIndex,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float],
        rules: WaveRules = NO_RULES,
    ) -> None:
        self._index = index
        self._store = index.cache.store
        self._clock = clock
        self._elapsed = elapsed
        canary = replace(rules.canary, watched_since=clock())
        self._rules = replace(rules, canary=canary)
        self._moves: dict[str, ImageMove] = {}
        """Changes that may need a Wave, by the first of its names."""
        self._next: dict[str, float] = {}
        """Time of the next look at a Wave, at the earliest."""

    def moved(self, before: ImageStream | None, after: ImageStream | None) -> Iterable[ObjectKey]:
        """Yield the Waves of the images that a stream has imported anew, and those that are open.

        Of a stream that was not there, or not known yet, what has changed of late.
        """
        since = self._clock() - _MISSED
        for move in new_moves(before, after, since) if after is not None else ():
            name = next(move.names())
            self._moves[name] = move
            yield ObjectKey(Wave.KIND.kind, "", name)
        yield from self._index.open()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make the Wave if there is something to do, or say how far it is."""
        wait = self._next.get(key.name, 0.0) - self._elapsed()
        if wait > 0:
            return Result(requeue_after=wait)
        await self._index.ready()
        if (move := self._moves.get(key.name)) is not None:
            await self._make(move)
            if self._moves.get(key.name) is move:
                del self._moves[key.name]
        try:
            wave = await self._store.get(Wave, "", key.name)
        except NotFoundError:
            self._next.pop(key.name, None)
            return Result()
        if wave.is_deleting or wave.status.phase in ENDED_WAVES:
            self._next.pop(key.name, None)
            return Result()
        began = self._elapsed()
        told = await self._tell(wave)
        ended = self._elapsed()
        pause = max(_PAUSE, _SHARE * (ended - began))
        self._next[key.name] = ended + pause
        until = told.status.canary.until if told.status.canary is not None else None
        if until is None:
            return Result()
        return Result(requeue_after=max(pause, (until - self._clock()).total_seconds()))

    async def _make(self, move: ImageMove) -> None:
        known = list(self._index.waves_of(move.image))
        if any(move.is_of(one) and one.status.phase not in ENDED_WAVES for one in known):
            return
        impact = (await self._look(move.image, move.digest))[0]
        if not impact.of(StepAction.REBUILD, StepAction.ROLL_OUT, StepAction.PROMOTE):
            return
        for name in move.names():
            try:
                made = await self._store.create(
                    new_wave(move, name, self._rules.approvals.of(move.image))
                )
            except AlreadyExistsError:
                continue  # of the same digest before, or of another image of that name
            await self._index.cache.wait_for(made)
            log.info("wave begins", extra={"wave": name, "image": move.image})
            break
        for old in beyond_kept(known, move.image):
            with suppress(NotFoundError):
                await self._store.delete(Wave, "", old.name)

    async def _tell(self, wave: Wave) -> Wave:
        now = self._clock()
        wave = await self._stop(wave)
        impact, snapshot, expected = await self._look(wave.spec.image, wave.spec.digest)
        if has_moved_on(wave, impact, snapshot):
            status = superseded_status(wave, now)
        else:
            status = wave_status(wave, impact, snapshot, expected, now, self._rules)
        wave = await self._stop(await self._store.update_status(wave.with_status(status)))
        if status.phase in ENDED_WAVES:
            log.info("wave ends", extra={"wave": wave.name, "text": status.message})
        return wave

    async def _stop(self, wave: Wave) -> Wave:
        """Put the image of a Wave that was stopped into quarantine, or take it out of that.

        The status has the stop before the first quarantine is there: whoever lifts them lets it go
        on, and it is not stopped again.
        """
        stop = wave.status.stop
        if stop is None or stop.lifted:
            return wave
        if not stop.quarantined and not wave.spec.resumed:
            for quarantine in stop_quarantines(wave, wave.status.digests or (wave.spec.digest,)):
                with suppress(AlreadyExistsError):
                    await self._store.create(quarantine)
            log.warning("wave stopped", extra={"wave": wave.name, "text": stop.message})
            stop = stop.model_copy(update={"quarantined": True})
        else:
            quarantines = (await self._store.list(Quarantine)).items
            own = [one for one in quarantines if is_of_wave(one, wave)]
            if own and not wave.spec.resumed:
                return wave
            for one in own:
                with suppress(NotFoundError):
                    await self._store.delete(Quarantine, "", one.name)
            stop = stop.model_copy(update={"lifted": True})
        status = wave.status.model_copy(update={"stop": stop})
        return await self._store.update_status(wave.with_status(status))

    async def _look(self, image: str, digest: str) -> tuple[Impact, Snapshot, Estimate]:
        snapshot = await self._index.snapshot(image)
        freezes, quarantines = self._index.freezes(), self._index.quarantines()
        now = self._clock()

        def work() -> tuple[Impact, Snapshot, Estimate]:
            change = PlannedChange(roots_of(snapshot, image, ""), digest)
            impact, expected = impact_and_estimate(
                snapshot, change, now, freezes=freezes, quarantines=quarantines
            )
            return impact, snapshot, expected

        return await asyncio.to_thread(work)


def wave_controller(
    index: WaveIndex,
    clock: Callable[[], datetime],
    elapsed: Callable[[], float],
    rules: WaveRules = NO_RULES,
) -> Controller:
    """Return the controller of Waves."""
    waves = Waves(index, clock, elapsed, rules)

    def open_ones(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        return index.open()

    watched = (Build, BuildConfig, *WORKLOADS, Pipeline, Promotion, Quarantine)
    return Controller(
        "waves",
        waves,
        index.cache,
        (
            Watch(Wave),
            Watch(ImageStream, waves.moved),
            *(Watch(kind, open_ones) for kind in watched),
        ),
        workers=1,
    )
