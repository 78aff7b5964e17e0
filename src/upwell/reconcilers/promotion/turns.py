"""Turns of promotions: so many rollouts at once in stages of one name, whatever the Pipeline."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase
from upwell.controller import ObjectCache

_LONGEST = timedelta(hours=1)
"""Time for which a rollout has a turn: one that takes longer keeps nobody waiting."""
AGAIN_SECONDS = 60.0
"""Time after which who waits asks anew, if nothing has woken them."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A rollout that the cache does not show yet."""

    stage: str
    at: datetime


class PromotionTurns:
    """Rollouts under way by the names of stages, and the Pipelines that wait, in their order.

    `lock` is held from the question until what has begun is written.
    """

    def __init__(
        self, cache: ObjectCache, clock: Callable[[], datetime], per_stage: int = 0
    ) -> None:
        """Without a number, nobody waits."""
        self._cache = cache
        self._clock = clock
        self._most = per_stage
        self.lock = asyncio.Lock()
        self.limited = bool(per_stage)
        self._under_way = cache.index(Promotion, _stage_under_way) if per_stage else None
        self._begun: dict[ObjectKey, _Begun] = {}
        self._waiting: dict[str, dict[ObjectKey, None]] = {}

    def busy(self, pipeline: Pipeline) -> Mapping[str, str]:
        """Return by stage what a promotion of the Pipeline waits for; nothing where it may begin.

        Free turns are those of whoever has waited longest.
        """
        found: dict[str, str] = {}
        for stage in pipeline.spec.stages if self.limited else ():
            taken = self._taken(stage.name)
            before = list(self._waiting.get(stage.name, ()))
            place = before.index(pipeline.key) if pipeline.key in before else len(before)
            if place >= self._most - taken:
                found[stage.name] = (
                    f"its turn, {place + 1} of {max(len(before), place + 1)}: {taken} of"
                    f" {self._most} rollouts into stages {stage.name} are under way"
                )
        return found

    def decided(
        self, pipeline: ObjectKey, begun: Iterable[Promotion], waiting: Collection[str]
    ) -> None:
        """Note what has begun, and in which stages a Pipeline waits for its turn: in no other."""
        now = self._clock()
        self._begun |= {one.key: _Begun(one.spec.stage, now) for one in begun}
        for stage in waiting:
            self._waiting.setdefault(stage, {}).setdefault(pipeline)
        for stage, queue in list(self._waiting.items()):
            if stage not in waiting:
                queue.pop(pipeline, None)
            if not queue:
                del self._waiting[stage]

    def has_waiting(self, pipeline: ObjectKey) -> bool:
        """Return True if a stage of a Pipeline waits for its turn."""
        return any(pipeline in queue for queue in self._waiting.values())

    def woken(self, before: Promotion | None, after: Promotion | None) -> Iterator[ObjectKey]:
        """Yield the Pipelines that may begin since a promotion has changed."""
        was, now = _stages(before), _stages(after)
        for stage in was:
            if stage not in now:
                free = max(self._most - self._taken(stage), 0)
                yield from list(self._waiting.get(stage, ()))[:free]

    def _taken(self, stage: str) -> int:
        if self._under_way is None:
            return 0
        since = self._clock() - _LONGEST
        for key, begun in list(self._begun.items()):
            if begun.at <= since or self._is_shown(key):
                del self._begun[key]
        seen = self._under_way.get(stage)
        shown = sum((one.status.started or since) > since for one in seen)
        return shown + sum(one.stage == stage for one in self._begun.values())

    def _is_shown(self, promotion: ObjectKey) -> bool:
        """Return True if the cache shows that it has begun; it may have ended since."""
        found = self._cache.get(Promotion, promotion.namespace, promotion.name)
        return found is not None and found.status.phase is not PromotionPhase.WAITING


def _stage_under_way(promotion: Promotion) -> tuple[str, ...]:
    goes_on = promotion.status.phase is PromotionPhase.ROLLING_OUT
    return (promotion.spec.stage,) if goes_on else ()


def _stages(promotion: Promotion | None) -> Iterable[str]:
    return () if promotion is None else _stage_under_way(promotion)
