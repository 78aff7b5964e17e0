"""Budget of rollouts that image change triggers begin."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RolloutBudget:
    """Rollouts that image change triggers may have under way at once; 0: as many as come."""

    at_once: int = 0
    per_namespace: int = 0


NO_BUDGET = RolloutBudget()
"""Budget of any number of rollouts."""
