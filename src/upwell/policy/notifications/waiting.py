"""Objects that are held back or wait, and for what: the body of a digest; pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, PromotionPhase
from upwell.policy.notifications.cloud_events import subject_of
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.triggers import hold_text

KINDS: tuple[type[Resource], ...] = (Pipeline, Promotion, Freeze, Quarantine, *WORKLOADS)
"""Of these something can be said."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """One thing that does not go on."""

    subject: str
    why: str
    until: datetime | None = None

    def __str__(self) -> str:
        end = f" (until {self.until:%Y-%m-%d %H:%M} UTC)" if self.until is not None else ""
        return f"{self.subject}: {self.why}{end}"


def held_back(resources: Iterable[Resource], now: datetime) -> Iterator[HeldBack]:
    """Yield all that waits."""
    for resource in resources:
        subject = subject_of(resource)
        match resource:
            case Promotion() if resource.status.phase is PromotionPhase.WAITING:
                status = resource.status
                yield HeldBack(subject, status.message or "waits for its turn", status.until)
            case Pipeline():
                for stage in resource.status.stages:
                    if stage.hold:
                        yield HeldBack(subject, f"stage {stage.name} is held: {stage.hold}")
                    elif stage.candidate and stage.waits_for:
                        why = f"{stage.candidate} waits before {stage.name}: {stage.waits_for}"
                        yield HeldBack(subject, why, stage.until)
            case Freeze() if resource.spec.end is None or resource.spec.end > now:
                why = f"promotion is frozen: {resource.spec.reason or 'no reason given'}"
                yield HeldBack(subject, why, resource.spec.end)
            case Quarantine():
                spec = resource.spec
                yield HeldBack(
                    subject, f"{spec.image or spec.digest} is quarantined: {spec.reason}"
                )
            case _ if isinstance(resource, WORKLOADS) and (hold := hold_text(resource)):
                yield HeldBack(subject, f"is held: {hold}")
            case _:
                pass
