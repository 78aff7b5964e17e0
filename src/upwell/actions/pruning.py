"""Pruning that an administrator asks for: what may be removed, or its removal."""

from upwell.api.prune import PruneSpec, PruneStatus
from upwell.policy.pruning.retention import Rules, rules_of
from upwell.reconcilers.pruning import Pruning


class PruningActions:
    """Pruning on demand; `defaults` are the server's rules."""

    def __init__(self, pruning: Pruning, defaults: Rules) -> None:
        self._pruning = pruning
        self._defaults = defaults

    async def prune(self, spec: PruneSpec) -> PruneStatus:
        """Say what may go, or remove it where the spec confirms that.

        Raises InvalidRulesError, StoreError, RegistryError or WorkloadError.
        """
        return await self._pruning.run(rules_of(spec, self._defaults), confirm=spec.confirm)
