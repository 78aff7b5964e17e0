"""Routes, Services and host ports that are not served, as the router has reported."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.route import Route
from upwell.policy.rollouts.settings import WORKLOADS

ADMITTED = "Admitted"
READY = "Ready"
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
    """Yield the Routes that no router admits, and the ports on which nobody listens, in order."""
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
        found = [find(ingress.conditions, ADMITTED) for ingress in resource.status.ingress]
    elif isinstance(resource, Service):
        found = [find(resource.status.conditions, READY)]
    elif isinstance(resource, WORKLOADS):
        found = [find(resource.status.conditions, HOST_PORTS)]
    yield from (condition for condition in found if condition is not None)
