"""The actions of all subjects, as the server gets them."""

from dataclasses import dataclass

from upwell.actions.bases import BaseActions
from upwell.actions.builds import BuildActions
from upwell.actions.images import ImageActions, ImageExaminer
from upwell.actions.notifications import SubscriptionActions
from upwell.actions.plans import PlanActions
from upwell.actions.promotion import PromotionActions
from upwell.actions.pruning import PruningActions
from upwell.actions.rollouts import RolloutActions
from upwell.actions.running import RunningActions
from upwell.actions.waves import WaveActions


@dataclass(frozen=True, slots=True)
class Actions:
    """Actions of people and clients, by subject."""

    builds: BuildActions
    rollouts: RolloutActions
    promotions: PromotionActions
    images: ImageActions
    examiner: ImageExaminer
    subscriptions: SubscriptionActions | None = None
    """None: no events are sent to others."""
    pruning: PruningActions | None = None
    """None: nothing is pruned."""
    waves: WaveActions | None = None
    """None: changes of images are not recorded."""
    plans: PlanActions | None = None
    """None: none are made."""
    bases: BaseActions | None = None
    """None: no image is known."""
    running: RunningActions | None = None
    """None: there is no cluster whose Pods are seen."""
