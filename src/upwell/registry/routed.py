"""One Registry out of two: the embedded one for its own host, the client for all others."""

from typing import override

from upwell.oci import Reference
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.hosting import HostedRegistry
from upwell.registry.interface import Registry


class RoutedRegistry(ForwardingRegistry):
    """Implements Registry; what names the internal host is answered in process."""

    def __init__(self, internal: HostedRegistry, remote: Registry) -> None:
        super().__init__(remote)
        self._internal = internal

    @override
    def _for(self, reference: Reference) -> Registry:
        return self._internal if reference.registry == self._internal.host else self._registry
