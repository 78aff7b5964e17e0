"""Promotions that have begun: rolls a Release out in its stage, verifies it, or goes back.

`pipelines` begins them. Each step is stored before the next, so that a killed one is done again.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, PromotionPhase, PromotionStatus, Purpose, Release
from upwell.controller import Result
from upwell.oci import InvalidReferenceError
from upwell.policy.promotion import transitions
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.stages import logins_namespace
from upwell.policy.promotion.verification.checks import VerificationOutcome, VerificationProgress
from upwell.policy.promotion.verification.soak import soak_of
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, UNASKED, Authority
from upwell.reconcilers.promotion.images import ReleaseImages
from upwell.reconcilers.promotion.machine_watch import MachineRecord, faultless
from upwell.reconcilers.promotion.placing.ports import ReleasePlacer
from upwell.reconcilers.promotion.soaks import SoakWatch
from upwell.registry.errors import RegistryError
from upwell.store.interface import NotFoundError, Store

log = logging.getLogger(__name__)

_LOOK_AGAIN = 5.0
"""Seconds after which a rollout is looked at although no change was seen."""


class Verifier(Protocol):
    """Runs the checks of a stage."""

    async def advance(
        self, pipeline: Pipeline, release: Release, promotion: Promotion
    ) -> VerificationProgress:
        """Take the checks further, and say how they stand."""
        ...

    async def stop(self, promotion: ObjectKey) -> None:
        """End what still runs for a promotion, which may be gone; again does nothing."""
        ...


type _Next = tuple[PromotionStatus, float | None]
"""Status to store, and the seconds until the next look; None: a change will come."""


class PromotionReconciler:
    """Carries out promotions, one step at a time."""

    def __init__(
        self,
        store: Store,
        images: ReleaseImages,
        placement: ReleasePlacer,
        verifier: Verifier,
        clock: Callable[[], datetime],
        machine: MachineRecord | None = None,
        authority: Authority = UNASKED,
    ) -> None:
        """`machine` says what is wrong with it; without it, nothing ever is."""
        self._authority = authority
        self._machine = machine or faultless(clock)
        self._soaks = SoakWatch(clock, self._machine)
        self._store = store
        self._images = images
        self._placement = placement
        self._verifier = verifier
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the promotion that `key` names one step further."""
        try:
            promotion = await self._store.get(Promotion, key.namespace, key.name)
        except NotFoundError:
            await self._stop(key)
            return Result()
        phase = promotion.status.phase
        if phase.is_final:
            await self._stop(key)
        if promotion.is_deleting or phase.is_final or phase is PromotionPhase.WAITING:
            return Result()
        anchored = transitions.anchored(promotion.status, self._clock())
        if anchored is not promotion.status:
            await self._store.update_status(promotion.with_status(anchored))
            return Result(0)
        move = await self._read(promotion)
        if move is None:
            return Result()
        if why := await self._authority.refusal(move.pipeline):
            await self._write(move, transitions.going_on(move.status, f"waits for a right: {why}"))
            return Result(ASK_AGAIN_SECONDS)
        status, again = await self._next(move)
        await self._write(move, status)
        return Result(again)

    async def _stop(self, promotion: ObjectKey) -> None:
        self._soaks.forget(promotion)
        await self._verifier.stop(promotion)

    async def _next(self, move: Move) -> _Next:
        """Do the step that is due; return what is to be stored of it, and when to look again."""
        rejection = move.release.status.rejection
        if move.status.phase is PromotionPhase.ROLLING_BACK:
            return await self._roll_back(move)
        if rejection is not None and move.purpose is Purpose.PROMOTE:
            return self._failed(move, move.status, rejection.reason)
        if move.status.phase is PromotionPhase.VERIFYING:
            return await self._verify(move)
        if transitions.has_left(move.status, transitions.IMAGES):
            return await self._roll_out(move)
        return await self._provide(move)

    async def _read(self, promotion: Promotion) -> Move | None:
        """Return the promotion with all that it names; end one whose stage is gone."""
        spec = promotion.spec
        try:
            pipeline = await self._store.get(Pipeline, promotion.namespace, spec.pipeline)
            release = await self._store.get(Release, promotion.namespace, spec.release)
        except NotFoundError:
            return None  # what owns it is gone, and it goes too
        stage = pipeline.stage(spec.stage)
        if stage is None:
            why = f"Pipeline {pipeline.name} has no stage {spec.stage} any more"
            ended = transitions.taken_over(promotion.status, why, self._clock())
            await self._store.update_status(promotion.with_status(ended))
            return None
        return Move(pipeline, stage, release, promotion)

    async def _provide(self, move: Move) -> _Next:
        """Make sure that the stage can pull the images, before anything is changed."""
        status = transitions.in_step(move.status, transitions.IMAGES, self._clock())
        if status != move.status:
            return status, 0
        try:
            await self._images.provide(
                move.release, move.stage, logins_namespace(move.pipeline, move.stage)
            )
        except (RegistryError, InvalidReferenceError) as error:
            why = f"cannot pull the images of {move.release.name}: {error}"
            if getattr(error, "retryable", False) and not self._overdue(move.stage, status):
                await self._write(move, transitions.going_on(status, f"{why}; it is tried again"))
                raise
            return self._failed(move, status, why)
        return transitions.in_step(status, transitions.ROLL_OUT, self._clock()), 0

    async def _roll_out(self, move: Move) -> _Next:
        found = await self._place(move)
        status = transitions.committed(move.status, found.commit)
        status = transitions.spread(status, found.clusters)
        if found.state is RolledOut.COMPLETE:
            return transitions.serves(status, move.purpose, self._clock()), 0
        status = self._in_its_step(move, status, found)
        if found.state is RolledOut.GOING_ON and self._may_go_on(move.stage, status, found):
            return transitions.going_on(status, found.message, found.until), self._again(found)
        return self._spoilt(move, status, found)

    async def _verify(self, move: Move) -> _Next:
        found = await self._place(move)
        status = transitions.committed(move.status, found.commit)
        status = transitions.spread(status, found.clusters)
        if found.state in {RolledOut.FAILED, RolledOut.TAKEN_OVER}:
            return self._spoilt(move, status, found)
        served, doubt = self._soaks.look(move.promotion, found)
        seen = move.promotion.with_status(status.model_copy(update={"soaked_seconds": served}))
        progress = await self._verifier.advance(move.pipeline, move.release, seen)
        status = transitions.checked(status, progress.checks, progress.message)
        status = transitions.soaked(status, soak_of(move.stage, seen))
        if progress.outcome is VerificationOutcome.RUNNING:
            return self._goes_on(move, status, found, progress, doubt)
        if progress.outcome is not VerificationOutcome.PASSED:
            return self._failed(move, status, progress.message)
        if found.state is RolledOut.COMPLETE:
            return transitions.passed(status, self._clock(), found.digests), None
        if not self._may_go_on(move.stage, status, found, move.stage.soak_seconds):
            return self._spoilt(move, status, found)
        return transitions.going_on(status, found.message, found.until), self._again(found)

    def _goes_on(
        self,
        move: Move,
        status: PromotionStatus,
        found: StageRollout,
        progress: VerificationProgress,
        doubt: str,
    ) -> _Next:
        """Return what becomes of a verification that is not over."""
        if not doubt or not all(check.phase.is_final for check in progress.checks):
            return status, progress.again
        if found.state is not RolledOut.COMPLETE and not self._may_go_on(
            move.stage, status, found, move.stage.soak_seconds
        ):
            return self._spoilt(move, status, found)
        message = f"{progress.message}, which stands still: {doubt}"
        return transitions.going_on(status, message), self._again(found)

    async def _place(self, move: Move) -> StageRollout:
        """Have the stage run the images; what is verified again is only looked at."""
        if move.purpose is Purpose.VERIFY:
            return await self._placement.observe(move)
        return await self._placement.place(move)

    async def _roll_back(self, move: Move) -> _Next:
        await self._stop(move.promotion.key)
        name = move.status.last_good
        try:
            good = await self._store.get(Release, move.promotion.namespace, name)
        except NotFoundError:
            why = f"Release {name} does not exist any more"
            return transitions.not_put_back(move.status, why, self._clock()), None
        found = await self._placement.place(replace(move, release=good))
        before = transitions.spread(move.status, found.clusters)
        if found.state is RolledOut.COMPLETE:
            commit = f"commit {found.commit}" if found.commit else ""
            status = transitions.noted(before, commit)
            return transitions.put_back(status, self._clock()), None
        status = self._in_its_step(move, before, found)
        if found.state is RolledOut.GOING_ON and self._may_go_on(move.stage, status, found):
            status = transitions.noted(status, found.message, found.until)
            return status, self._again(found)
        status = transitions.committed(status, found.commit)
        return transitions.not_put_back(status, found.message, self._clock()), None

    def _in_its_step(
        self, move: Move, status: PromotionStatus, found: StageRollout
    ) -> PromotionStatus:
        """Return the status in the step that `found` is about: each has a time of its own."""
        if found.state is not RolledOut.GOING_ON:
            return status
        usual = transitions.ROLL_BACK if move.puts_back else transitions.ROLL_OUT
        name = transitions.REVIEW if found.review else usual
        return transitions.in_step(status, name, self._clock())

    def _again(self, found: StageRollout) -> float:
        """Return the seconds until a rollout that goes on is looked at."""
        if found.until is None:
            return _LOOK_AGAIN
        return max((found.until - self._clock()).total_seconds(), 0)

    def _spoilt(self, move: Move, status: PromotionStatus, found: StageRollout) -> _Next:
        """Return what becomes of a promotion whose rollout does not end well."""
        if found.state is RolledOut.TAKEN_OVER:
            return transitions.taken_over(status, found.message, self._clock()), None
        why = found.message
        if found.state is not RolledOut.FAILED:
            what = "merged" if found.review else "rolled out"
            seconds = transitions.allowed_seconds(status, move.stage)
            why = f"not {what} after {seconds} s: {why}"
        return self._failed(move, status, why)

    def _failed(self, move: Move, status: PromotionStatus, why: str) -> _Next:
        now = self._clock()
        return transitions.failed(status, move.purpose, move.release.name, why, now), 0

    def _may_go_on(
        self, stage: Stage, status: PromotionStatus, found: StageRollout, soak: int = 0
    ) -> bool:
        """Return True while a rollout that is not complete has time."""
        return found.untimed or not self._overdue(stage, status, soak)

    def _overdue(self, stage: Stage, status: PromotionStatus, soak: int = 0) -> bool:
        end = transitions.deadline(status, stage, self._machine.well_since())
        return end is not None and self._clock() >= end + timedelta(seconds=soak)

    async def _write(self, move: Move, status: PromotionStatus) -> None:
        if status != move.status:
            await self._store.update_status(move.promotion.with_status(status))
        if status.phase is not move.status.phase:
            extra = {"promotion": move.promotion.name, "phase": status.phase.value}
            log.info("promotion goes on", extra=extra)
