"""Rights of verb `use` that ports and hosts of an object take; pure."""

from collections.abc import Iterator

from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.api.values.addresses import NODE_PORTS
from upwell.policy.rollouts.settings import WORKLOADS, template_of

HOST_PORTS = "hostports"
WILDCARD_HOSTS = "wildcardhosts"


def network_rights(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield the resource of each right, and the use that the object makes of it."""
    if isinstance(resource, Service):
        for port in resource.spec.ports:
            if port.node_port and port.node_port not in NODE_PORTS:
                first, last = NODE_PORTS[0], NODE_PORTS[-1]
                yield HOST_PORTS, f"has nodePort {port.node_port}, outside {first} to {last}"
    elif isinstance(resource, WORKLOADS):
        spec = template_of(resource).spec
        for container in (*spec.init_containers, *spec.containers):
            for container_port in container.ports:
                if container_port.host_port:
                    yield HOST_PORTS, f"has hostPort {container_port.host_port} of the machine"
    elif isinstance(resource, Route) and (
        resource.spec.host.startswith("*.") or resource.spec.wildcard_policy == "Subdomain"
    ):
        yield WILDCARD_HOSTS, f"takes the whole domain of host {resource.spec.host}"
    elif isinstance(resource, Ingress):
        for rule in resource.spec.rules:
            if rule.host.startswith("*."):
                yield WILDCARD_HOSTS, f"takes the whole domain of host {rule.host}"
