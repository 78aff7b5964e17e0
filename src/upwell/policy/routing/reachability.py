"""Routes, Services and host ports that are not served, as the router has reported."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.policy.rollouts.settings import WORKLOADS

ADMITTED = "Admitted"
READY = "Ready"
SERVED = "Served"
"""Of an Ingress."""
ENDPOINTS = "EndpointsAvailable"
"""Of a Service or a Route; it is there once there were none for a while."""
HOST_PORTS = "HostPortsServed"
"""Of a workload; it is there once one of its host ports was not."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """An object that nobody reaches, or not in full."""

    key: ObjectKey
    reason: str
    message: str
    since: datetime | None = None

    def __str__(self) -> str:
        reported = self.message or self.reason
        return (
            f"{self.key}: {reported}"
            if "not served" in reported
            else f"{self.key} is not served: {reported}"
        )


def unserved(objects: Iterable[Resource]) -> Iterator[Unserved]:
    """Yield Routes that are not admitted, ports without a listener, and what leads nowhere."""
    for resource in sorted(objects, key=lambda one: one.key):
        for condition in _reports(resource):
            if condition.status == "False":
                yield Unserved(
                    resource.key,
                    condition.reason,
                    condition.message,
                    condition.last_transition_time,
                )


def _reports(resource: Resource) -> Iterator[Condition]:
    found: list[Condition | None] = []
    if isinstance(resource, Route):
        ingress = resource.status.ingress
        found = [find(one.conditions, kind) for one in ingress for kind in (ADMITTED, ENDPOINTS)]
    elif isinstance(resource, Service):
        found = [find(resource.status.conditions, kind) for kind in (READY, ENDPOINTS)]
    elif isinstance(resource, Ingress):
        found = [find(resource.status.conditions, SERVED)]
    elif isinstance(resource, WORKLOADS):
        found = [find(resource.status.conditions, HOST_PORTS)]
    yield from (condition for condition in found if condition is not None)
