"""Turns of promotions: so many rollouts at once in stages of one name, whatever the Pipeline."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, PromotionStatus
from upwell.controller import ObjectCache

_LONGEST = timedelta(hours=1)
"""Time for which a rollout has a turn: one that takes longer keeps nobody waiting."""
AGAIN_SECONDS = 60.0
"""Time after which who waits asks anew, if nothing has woken them."""


class PromotionTurns:
    """Rollouts under way by the names of stages, and the Pipelines that wait, in their order.

    `lock` is held from the question until what has begun is written.
    """

    def __init__(
        self, cache: ObjectCache, clock: Callable[[], datetime], per_stage: int = 0
    ) -> None:
        """Without a number, nobody waits."""
        self._clock = clock
        self._most = per_stage
        self.lock = asyncio.Lock()
        self.limited = bool(per_stage)
        self._under_way = cache.index(Promotion, _stage_under_way) if per_stage else None
        self._begun: dict[ObjectKey, str] = {}
        """Stages of those that have begun and that the cache does not show yet."""
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
        self,
        pipeline: Pipeline,
        busy: Mapping[str, str],
        promotions: Mapping[str, PromotionStatus],
        known: Mapping[str, Promotion],
    ) -> None:
        """Note what has begun, and which stages wait for their turn."""
        for name, status in promotions.items():
            if status.phase is PromotionPhase.ROLLING_OUT and name in known:
                self._begun[known[name].key] = known[name].spec.stage
        for stage in pipeline.spec.stages:
            waits = stage.name in busy and any(
                one.phase is PromotionPhase.WAITING
                and (one.message or "").endswith(busy[stage.name])
                for name, one in promotions.items()
                if name in known and known[name].spec.stage == stage.name
            )
            queue = self._waiting.setdefault(stage.name, {})
            if waits:
                queue.setdefault(pipeline.key)
            elif stage.name not in busy:
                queue.pop(pipeline.key, None)

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
        seen = {one.key: one for one in self._under_way.get(stage)}
        for key in [one for one in self._begun if one in seen]:
            del self._begun[key]  # the cache shows it
        shown = [one for one in seen.values() if (one.status.started or since) > since]
        return len(shown) + sum(name == stage for name in self._begun.values())


def _stage_under_way(promotion: Promotion) -> tuple[str, ...]:
    goes_on = promotion.status.phase is PromotionPhase.ROLLING_OUT
    return (promotion.spec.stage,) if goes_on else ()


def _stages(promotion: Promotion | None) -> Iterable[str]:
    return () if promotion is None else _stage_under_way(promotion)
