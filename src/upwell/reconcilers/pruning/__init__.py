"""Removes what nothing needs any more: once a day by itself, and when a person asks.

`ports` names what it works on, `machine_roots` and `cluster_roots` find what may need an image,
`plan` reads everything and decides, `removal` acts in an order in which a crash leaves nothing that
dangles, `storage` prunes what lies beside the registry, `schedule` says when; `sweep` takes away
what interrupted work left.
"""

from upwell.reconcilers.pruning.cluster_roots import ClusterRoots
from upwell.reconcilers.pruning.machine_roots import MachineRoots
from upwell.reconcilers.pruning.plan import PruningPlanner
from upwell.reconcilers.pruning.ports import FoundRoots, NothingToPrune, RetentionRoots, Stores
from upwell.reconcilers.pruning.removal import Pruning
from upwell.reconcilers.pruning.schedule import PruningSchedule
from upwell.reconcilers.pruning.sweep import LeftoverSweep

__all__ = [
    "ClusterRoots",
    "FoundRoots",
    "LeftoverSweep",
    "MachineRoots",
    "NothingToPrune",
    "Pruning",
    "PruningPlanner",
    "PruningSchedule",
    "RetentionRoots",
    "Stores",
]
