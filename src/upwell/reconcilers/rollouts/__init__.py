"""Rolls workloads out on one machine: decides by `policy.rollout`, acts through runtime and router.

What serves is never given up before what follows it serves; every wait has a reason in a condition.
"""

from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.reconciler import FINALIZER, RolloutReconciler
from upwell.reconcilers.rollouts.traffic import Traffic
from upwell.reconcilers.rollouts.wiring import rollout_controller

__all__ = [
    "FINALIZER",
    "RolloutPorts",
    "RolloutReconciler",
    "TemplateImages",
    "Traffic",
    "rollout_controller",
]
