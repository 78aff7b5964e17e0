"""Removes what nothing needs any more: once a day by itself, and when a person asks.

`ports` names what it works on, `plan` reads everything and decides, `removal` acts in an order in
which a crash leaves nothing that dangles, `schedule` says when; `sweep` takes away what interrupted
work left.
"""

from upwell.reconcilers.pruning.plan import PruningPlanner
from upwell.reconcilers.pruning.ports import NothingToPrune, Stores
from upwell.reconcilers.pruning.removal import Pruning
from upwell.reconcilers.pruning.schedule import PruningSchedule
from upwell.reconcilers.pruning.sweep import LeftoverSweep

__all__ = [
    "LeftoverSweep",
    "NothingToPrune",
    "Pruning",
    "PruningPlanner",
    "PruningSchedule",
    "Stores",
]
