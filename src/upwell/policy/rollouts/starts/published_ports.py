"""Ports of the machine that the runtime leads to an instance itself, as no router serves them."""

from collections.abc import Iterator

from upwell.api.pod_template import PodSpec
from upwell.workload.instance_spec import PortMapping

PUBLISHED = "UDP"
"""Protocol without connections that a router could hand over. SCTP is none: Podman holds no port of
that, and would give it to two instances."""


def published_ports(pod: PodSpec) -> tuple[PortMapping, ...]:
    """Return the host ports of a Pod's containers that one instance alone can have."""
    return tuple(dict.fromkeys(_mappings(pod)))


def _mappings(pod: PodSpec) -> Iterator[PortMapping]:
    for container in pod.containers:
        for port in container.ports:
            if port.host_port and port.protocol == PUBLISHED:
                yield PortMapping(
                    port.host_port, port.container_port, port.protocol, port.host_ip or ""
                )
