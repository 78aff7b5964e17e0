"""Gate that image change triggers ask before they set an image, and what they may set then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.triggers import Reason, Slot, TriggerVerdict, kept_back
from upwell.reconcilers.rollouts.turns import RolloutTurns

_PLACE_PERIOD = 60.0
"""Seconds between two looks at the place of a workload that waits for its turn."""


@dataclass(frozen=True, slots=True)
class ImageUpdate:
    """An image that a trigger is about to set where another is set now."""

    slot: Slot
    before: str
    """Pull spec with digest."""
    after: str


@dataclass(frozen=True, slots=True)
class RolloutBar:
    """Reason why images are not set yet."""

    reason: Reason
    message: str
    slots: frozenset[Slot]
    """Containers whose images wait."""
    look_again: float | None = None
    """Seconds until it is asked again, where no change of an object tells."""


class RolloutGate(Protocol):
    """Gate that may keep the rollout of a new image back."""

    async def bar(
        self,
        workload: Resource,
        updates: Sequence[ImageUpdate],
        streams: Mapping[StreamName, ImageStream],
    ) -> RolloutBar | None:
        """Return what keeps these images back now; None: they are set."""
        ...


class OpenGate:
    """Keeps nothing back."""

    async def bar(
        self,
        _workload: Resource,
        _updates: Sequence[ImageUpdate],
        _streams: Mapping[StreamName, ImageStream],
    ) -> RolloutBar | None:
        """Return None."""
        return None


class RolloutPermits:
    """Takes from a verdict what is not to be set yet, and says in how many seconds to ask again.

    It is for images in the place of others: what runs nothing yet gets its images at once.
    """

    def __init__(self, gate: RolloutGate, turns: RolloutTurns) -> None:
        self._gate = gate
        self._turns = turns

    async def pass_gate(
        self,
        workload: Resource,
        verdict: TriggerVerdict,
        updates: Sequence[ImageUpdate],
        streams: Mapping[StreamName, ImageStream],
    ) -> tuple[TriggerVerdict, float | None]:
        """Return the verdict without what the gate keeps back, and when that is asked again."""
        bar = await self._gate.bar(workload, updates, streams) if updates else None
        if bar is None:
            return verdict, None
        left = kept_back(workload, verdict, bar.slots, (bar.reason, bar.message))
        return left, bar.look_again

    def take_turn(
        self, workload: Resource, verdict: TriggerVerdict
    ) -> tuple[TriggerVerdict, float | None]:
        """Return the verdict if it is the workload's turn; else without images.

        Who has a turn calls `began` once the images are written, or when they are not.
        """
        why = self._turns.take(workload)
        if not why:
            return verdict, None
        waits = (Reason.WAITS_FOR_TURN, why)
        return kept_back(workload, verdict, tuple(verdict.images), waits), _PLACE_PERIOD

    @property
    def limited(self) -> bool:
        """Rollouts wait for others at all."""
        return self._turns.limited

    def began(self, workload: ObjectKey) -> None:
        """Note that the images of a workload are written, and that the cache shows it."""
        self._turns.began(workload)

    def leave(self, workload: ObjectKey) -> None:
        """Let a workload wait no longer, if it does: there is nothing to set."""
        self._turns.leave(workload)
