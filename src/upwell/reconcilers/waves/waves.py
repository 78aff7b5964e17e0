"""Waves: made when an imported image changes; their statuses say how far the change is."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, Quarantine
from upwell.api.promotion import Promotion
from upwell.api.waves.wave import ENDED_WAVES, Wave, WavePhase
from upwell.controller import Controller, Result, Watch
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.promotion.stages import STAGED
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.waves.approval import approved_as, waits_for_approval
from upwell.policy.waves.changes import ImageMove, PendingMoves, new_moves, passed_over
from upwell.policy.waves.decisions import builds_to_cancel
from upwell.policy.waves.gate import keeps_cancelled
from upwell.policy.waves.impact import StepAction
from upwell.policy.waves.progress import (
    NO_RULES,
    WaveRules,
    beyond_kept,
    has_moved_on,
    idle_status,
    new_wave,
    nothing_to_do,
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
_FOLLOW = (StepAction.REBUILD, StepAction.ROLL_OUT, StepAction.PROMOTE)
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
        self._moves = PendingMoves()
        """Changes that may need a Wave."""
        self._idle = PendingMoves()
        """Changes of which nothing matters here."""
        self._awaited = PendingMoves()
        """Changes for whose approval something waits."""
        self._next: dict[str, float] = {}
        """Time of the next look at a Wave, at the earliest."""

    def moved(self, before: ImageStream | None, after: ImageStream | None) -> Iterable[ObjectKey]:
        """Yield the Waves of the images that a stream has imported anew, and those that are open.

        Of a stream that was not there, or not known yet, what has changed of late.
        """
        since = self._clock() - _MISSED
        for move in new_moves(before, after, since) if after is not None else ():
            yield self._moves.add(move)
        for move in passed_over(before, after) if after is not None else ():
            yield self._idle.add(move)
        yield from self._index.open()

    def unrecorded(self, before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        """Yield the Waves that are missing where something waits for approval of one."""
        if after is None or not waits_for_approval(after) or after == before:
            return
        for move in self._index.unrecorded(after, self._rules.approvals):
            yield self._awaited.add(move)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make the Waves of the name if there is something to do, or say how far it is."""
        await self._index.ready()
        for move in self._moves.of(key):
            await self._make(move)
            self._moves.made(move)
        for move in self._idle.of(key):
            await self._make(move, has_it=True)
            self._idle.made(move)
        for move in self._awaited.of(key):
            await self._make(move, is_awaited=True)
            self._awaited.made(move)
        wait = self._next.get(key.name, 0.0) - self._elapsed()
        if wait > 0:
            return Result(requeue_after=wait)
        try:
            wave = await self._store.get(Wave, "", key.name)
        except NotFoundError:
            self._next.pop(key.name, None)
            return Result()
        is_over = wave.status.phase in ENDED_WAVES and not keeps_cancelled(wave)
        if wave.is_deleting or is_over:
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

    async def _make(
        self, move: ImageMove, *, has_it: bool = False, is_awaited: bool = False
    ) -> None:
        """Make the Wave of a change; `has_it`: what is used here of the image is the same.

        `is_awaited`: something waits for it, if only what no Wave counts, such as a CronJob.
        """
        known = list(self._index.waves_of(move.image))
        covered = move.covered_by(known)
        if covered is not None and covered.status.phase is not WavePhase.COMPLETE:
            return
        impact = (await self._index.look(move.image, move.digest, self._clock())).impact
        steps = impact.of(*_FOLLOW)
        if has_it:  # nothing of it is done, as it is done already
            steps = [one for one in impact.steps.values() if one.action in _FOLLOW]
        if not steps and not is_awaited:
            return
        needed = self._rules.approvals.of(move.image)
        for name in move.names(shared=await self._is_taken(move)):
            try:
                made = await self._store.create(new_wave(move, name, needed))
            except AlreadyExistsError:
                continue  # of the same digest before
            if covered is not None and covered.status.approval is not None and not has_it:
                made = await self._store.update_status(approved_as(made, covered))
            await self._index.cache.wait_for(made)
            log.info("wave begins", extra={"wave": name, "image": move.image})
            break
        for old in beyond_kept(known, move.image):
            with suppress(NotFoundError):
                version = old.resource_version
                await self._store.delete(Wave, "", old.name, resource_version=version)

    async def _is_taken(self, move: ImageMove) -> bool:
        """Return True if another image's Wave has the name of a change: a mirror's, perhaps."""
        try:
            first = await self._store.get(Wave, "", next(move.names()))
        except NotFoundError:
            return False
        return first.spec.image != move.image

    async def _tell(self, wave: Wave) -> Wave:
        now = self._clock()
        wave = await self._stop(wave)
        view = await self._index.look(wave.spec.image, wave.spec.digest, now)
        is_new = wave.status.phase is None and not wave.spec.paused
        if is_new and (why := nothing_to_do(wave, view.impact, view.snapshot)):
            status = idle_status(wave, why, now)
        elif has_moved_on(wave, view.impact, view.snapshot):
            status = superseded_status(wave, now)
        else:
            status = await asyncio.to_thread(
                wave_status, wave, view.impact, view.snapshot, view.estimate, now, self._rules
            )
        ends = status.phase in ENDED_WAVES and status.phase is not wave.status.phase
        wave = await self._stop(await self._store.update_status(wave.with_status(status)))
        if keeps_cancelled(wave):
            await self._end_builds(wave, view.snapshot)
        if ends:
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
            for quarantine in stop_quarantines(wave):
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
                    version = one.resource_version
                    await self._store.delete(Quarantine, "", one.name, resource_version=version)
            stop = stop.model_copy(update={"lifted": True})
        status = wave.status.model_copy(update={"stop": stop})
        return await self._store.update_status(wave.with_status(status))

    async def _end_builds(self, wave: Wave, snapshot: Snapshot) -> None:
        """Cancel the builds that would bring the image of a cancelled Wave to a BuildConfig."""
        is_on = self._index.stands_on(wave)
        for build in builds_to_cancel(wave, snapshot.every_build(), is_on):
            try:
                found = await self._store.get(Build, build.namespace, build.name)
                for one in builds_to_cancel(wave, (found,), is_on):
                    status = one.status.model_copy(update={"cancelled": True})
                    await self._store.update_status(one.with_status(status))
                    log.info("build cancelled", extra={"key": str(one.key), "wave": wave.name})
            except NotFoundError:
                continue


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
            *(Watch(kind, waves.unrecorded) for kind in (BuildConfig, *STAGED)),
            *(Watch(kind, open_ones) for kind in watched),
        ),
        workers=1,
    )
