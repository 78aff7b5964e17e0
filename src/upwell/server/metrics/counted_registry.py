"""A registry that counts how often it is asked what a tag names, and how that fails."""

from typing import override

from upwell.oci import Descriptor, Reference
from upwell.registry.errors import RegistryError
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.server.metrics.metrics import Metrics


class CountedRegistry(ForwardingRegistry):
    """Implements Registry by another one."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        super().__init__(registry)
        self._metrics = metrics

    @override
    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return what `reference` names now."""
        try:
            found = await self._registry.resolve(reference, access)
        except RegistryError as error:
            self._metrics.count_check(reference.registry, error.reason)
            raise
        self._metrics.count_check(reference.registry)
        return found
