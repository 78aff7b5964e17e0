"""Roots of retention where one machine runs everything: all objects, and its instances."""

from dataclasses import dataclass

from upwell.api.codec import RESOURCES
from upwell.api.core import Event, Secret
from upwell.reconcilers.pruning.ports import FoundRoots
from upwell.store.interface import Store
from upwell.workload.interface import Runtime

_READ = [kind for kind in RESOURCES if kind.KIND.is_stored and kind not in {Event, Secret}]
"""These two hold no references."""


@dataclass(frozen=True, slots=True)
class MachineRoots:
    """Implements RetentionRoots on a machine."""

    objects: Store
    runtime: Runtime

    async def read(self) -> FoundRoots:
        """Return the objects, then what runs. Raises StoreError or WorkloadError."""
        found = [one for kind in _READ for one in (await self.objects.list(kind)).items]
        running = {
            digest: f"instance {instance.name}"
            for instance in await self.runtime.instances()
            for digest in instance.images.values()
            if digest is not None
        }
        return FoundRoots(found, running)
