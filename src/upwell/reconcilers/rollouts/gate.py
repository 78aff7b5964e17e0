"""Port that image change triggers ask before they set an image: may the rollout begin now?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.triggers import Reason, Slot


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
