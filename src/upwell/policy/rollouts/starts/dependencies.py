"""Deployments that another one waits for where none of its own instances runs: after a reboot, say.

As Compose's depends_on has it; what is not there in time is waited for no longer, since a service
without its database may still say so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from upwell.api.apps import RevisionRecord
from upwell.api.meta import Resource
from upwell.policy.rollouts.instance import is_available
from upwell.policy.rollouts.report import describe
from upwell.policy.rollouts.snapshot import DEPENDENCIES, Obstacle
from upwell.workload.interface import Instance, State

DEPENDS_ON_ANNOTATION = "upwell.dev/depends-on"
"""`db:service_healthy,cache`: Deployments of the namespace, each with a condition of Compose's."""
PATIENCE = timedelta(minutes=5)
"""Time for which others are waited for, since the machine's start or the revision's begin."""


class DependencyCondition(StrEnum):
    """Condition of what is waited for, in Compose's words."""

    STARTED = "service_started"
    """An instance runs."""
    HEALTHY = "service_healthy"
    """An instance passes its check."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A Deployment that is waited for."""

    name: str
    condition: DependencyCondition = DependencyCondition.STARTED

    def __str__(self) -> str:
        return f"{self.name}:{self.condition}"

    def is_met(self, instances: Iterable[Instance], now: datetime) -> bool:
        """Return True if one of its instances is as far as the condition asks."""
        if self.condition is DependencyCondition.STARTED:
            return any(one.state is State.RUNNING for one in instances)
        return any(is_available(one, timedelta(0), now) for one in instances)


def dependencies_of(workload: Resource) -> tuple[Dependency, ...]:
    """Return what a workload waits for; an unknown condition is the weaker one."""
    found = []
    for entry in workload.annotations.get(DEPENDS_ON_ANNOTATION, "").split(","):
        name, _, condition = entry.strip().partition(":")
        is_healthy = condition.strip() == DependencyCondition.HEALTHY
        if name := name.strip():
            chosen = DependencyCondition.HEALTHY if is_healthy else DependencyCondition.STARTED
            found.append(Dependency(name, chosen))
    return tuple(found)


def waiting_for(record: RevisionRecord, missing: Iterable[Dependency]) -> Obstacle:
    """Say what the first instance waits for."""
    verbs = {DependencyCondition.HEALTHY: "is healthy", DependencyCondition.STARTED: "runs"}
    names = ", ".join(f"{one.name} {verbs[one.condition]}" for one in missing)
    return Obstacle(DEPENDENCIES, f"{describe(record)} is progressing: waits until {names}", "True")
