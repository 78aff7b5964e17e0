"""Pruning that an administrator asks for: what may be removed, or its removal."""

from upwell.api.requests.prune import PrunedItem, PruneSpec, PruneStatus
from upwell.policy.pruning.leftovers import UnneededItem
from upwell.policy.pruning.rules import PruningRefusedError, Rules, rules_of
from upwell.reconcilers.pruning import LeftoverSweep, Pruning


class PruningActions:
    """Pruning on demand; `defaults` are the server's rules.

    `sweep` finds what interrupted work left on this machine; None: a cluster runs everything.
    `elsewhere` is the prefix of the registry that has the images of builds; empty: they are here.
    """

    def __init__(
        self, pruning: Pruning, sweep: LeftoverSweep | None, defaults: Rules, elsewhere: str = ""
    ) -> None:
        self._elsewhere = elsewhere
        self._pruning = pruning
        self._sweep = sweep
        self._defaults = defaults

    async def prune(self, spec: PruneSpec) -> PruneStatus:
        """Say what may go, or remove it where the spec confirms that.

        Raises InvalidRulesError, PruningRefusedError, StoreError, RegistryError or WorkloadError.
        """
        rules = rules_of(spec, self._defaults)
        removed, left = await self._swept(spec)
        status = PruneStatus()
        if not spec.leftovers:
            status = await self._pruning.run(rules, confirm=spec.confirm)
        items = (*status.items, *map(_item, removed))
        changes = {
            "items": items,
            "unexplained": tuple(map(_item, left)),
            "left_out": "; ".join(filter(None, (self._left_out(), status.left_out))) or None,
        }
        return status.model_copy(update=changes)

    async def _swept(self, spec: PruneSpec) -> tuple[list[UnneededItem], list[UnneededItem]]:
        """Return the leftovers that go, and those that a person has to decide about."""
        if self._sweep is None:
            if spec.leftovers:
                raise PruningRefusedError(
                    "leftovers: on a cluster there are none of this server's containers: what no"
                    " workload owns there, the cluster removes"
                )
            return [], []
        found = await self._sweep.find()
        removed = [one for one in found if spec.leftovers or not one.unexplained]
        if spec.confirm:
            removed = await self._sweep.remove(found, unexplained=spec.leftovers)
        return removed, [one for one in found if one.unexplained and one not in removed]

    def _left_out(self) -> str | None:
        if not self._elsewhere:
            return None
        return f"images and tags in {self._elsewhere}: that registry's own retention removes them"


def _item(found: UnneededItem) -> PrunedItem:
    return PrunedItem(what=found.what, name=found.found.name, reason=found.reason)
