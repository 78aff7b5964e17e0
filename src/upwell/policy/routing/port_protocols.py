"""Ports that no router of TCP and HTTP can serve, and what to do instead."""

from collections.abc import Iterator

from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.policy.rollouts.settings import WORKLOADS, template_of
from upwell.policy.rollouts.starts.published_ports import PUBLISHED

SERVED = "TCP"
HEADLESS = "None"
"""A Service's clusterIP when its name stands for the instances themselves."""


def unserved_ports(service: Service) -> tuple[str, ...]:
    """Return the ports of a Service that nobody reaches at its address, for people.

    A headless Service has no address: whoever asks its name reaches the instances, by any protocol.
    """
    if service.spec.type == "ExternalName" or service.spec.cluster_ip == HEADLESS:
        return ()
    return tuple(
        f"port {f'{port.name} ' if port.name else ''}({port.port}/{port.protocol})"
        for port in service.spec.ports
        if port.protocol != SERVED
    )


def unserved_message(service: Service) -> str:
    """Say which ports are not served, and what to do; empty when all are."""
    ports = unserved_ports(service)
    if not ports:
        return ""
    verb = "is" if len(ports) == 1 else "are"
    return (
        f"{', '.join(ports)} {verb} not served: the router knows TCP alone. With clusterIP: None"
        " the Service's name stands for the instances themselves, and every protocol works"
    )


def protocol_warnings(resource: Resource) -> Iterator[str]:
    """Yield what will not be served of what an object declares."""
    if isinstance(resource, Service):
        if message := unserved_message(resource):
            yield message
    elif isinstance(resource, WORKLOADS):
        for container in template_of(resource).spec.containers:
            for port in container.ports:
                if port.host_port and port.protocol not in {SERVED, PUBLISHED}:
                    yield (
                        f"container {container.name}: hostPort {port.host_port}/{port.protocol} is"
                        " not served: host ports are TCP or UDP"
                    )
