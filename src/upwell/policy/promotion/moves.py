"""A Release on its way into a stage."""

from dataclasses import dataclass

from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, PromotionPhase, PromotionStatus, Purpose, Release


@dataclass(frozen=True, slots=True)
class Move:
    """A Release that goes into a stage, and the promotion for which it does."""

    pipeline: Pipeline
    stage: Stage
    release: Release
    promotion: Promotion

    @property
    def status(self) -> PromotionStatus:
        """The promotion's status."""
        return self.promotion.status

    @property
    def purpose(self) -> Purpose:
        """Purpose of the promotion."""
        return self.promotion.spec.purpose

    @property
    def puts_back(self) -> bool:
        """True if `release` is the last good one, after the promotion's own has failed."""
        return self.status.phase is PromotionPhase.ROLLING_BACK
