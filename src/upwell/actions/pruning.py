"""Pruning that an administrator asks for: what may be removed, or its removal."""

from upwell.api.requests.prune import PrunedItem, PruneSpec, PruneStatus
from upwell.policy.pruning.leftovers import UnneededItem
from upwell.policy.pruning.rules import Rules, rules_of
from upwell.reconcilers.pruning import LeftoverSweep, Pruning


class PruningActions:
    """Pruning on demand; `defaults` are the server's rules.

    `elsewhere` is the prefix of the registry that has the images of builds; empty: they are here.
    """

    def __init__(
        self, pruning: Pruning, sweep: LeftoverSweep, defaults: Rules, elsewhere: str = ""
    ) -> None:
        self._elsewhere = elsewhere
        self._pruning = pruning
        self._sweep = sweep
        self._defaults = defaults

    async def prune(self, spec: PruneSpec) -> PruneStatus:
        """Say what may go, or remove it where the spec confirms that.

        Raises InvalidRulesError, StoreError, RegistryError or WorkloadError.
        """
        rules = rules_of(spec, self._defaults)
        found = await self._sweep.find()
        removed = [one for one in found if spec.leftovers or not one.unexplained]
        if spec.confirm:
            removed = await self._sweep.remove(found, unexplained=spec.leftovers)
        left = [one for one in found if one.unexplained and one not in removed]
        status = PruneStatus()
        if not spec.leftovers:
            status = await self._pruning.run(rules, confirm=spec.confirm)
        items = (*status.items, *map(_item, removed))
        changes = {
            "items": items,
            "unexplained": tuple(map(_item, left)),
            "left_out": self._left_out(),
        }
        return status.model_copy(update=changes)

    def _left_out(self) -> str | None:
        if not self._elsewhere:
            return None
        return f"images and tags in {self._elsewhere}: that registry's own retention removes them"


def _item(found: UnneededItem) -> PrunedItem:
    return PrunedItem(what=found.what, name=found.found.name, reason=found.reason)
