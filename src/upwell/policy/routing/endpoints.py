"""Services that lead nowhere: no workload has the labels, or none of its instances is ready."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload, instance_labels, template_of
from upwell.policy.rollouts.summary import desired_replicas
from upwell.policy.routing.reachability import ENDPOINTS

GRACE = timedelta(seconds=60)
"""Time in which the objects of one `apply` come, in whatever order, and instances are replaced."""
_SHOWN = 3


def without_endpoints(
    services: Iterable[Service], workloads: Mapping[ObjectKey, Workload]
) -> dict[ObjectKey, str]:
    """Say of Services that have no ready instance why, and what to do.

    Left out are those that nobody expects to answer: a workload is scaled to zero, or in a rollout,
    which has a deadline of its own.
    """
    labelled: dict[tuple[str, str, str], list[Workload]] = defaultdict(list)
    found = {}
    for service in services:
        selector = service.spec.selector
        if not selector or service.spec.type == "ExternalName":
            continue
        if not labelled:
            for workload in workloads.values():
                for label in instance_labels(workload, template_of(workload)).items():
                    labelled[workload.namespace, *label].append(workload)
        places = [(service.namespace, *label) for label in selector.items()]
        near = min((labelled.get(place, []) for place in places), key=len)
        matched = [one for one in near if _has(one, selector)]
        if not any(map(_is_on_its_way, matched)) and not _is_off(matched):
            found[service.key] = _why(service, matched)
    return found


def _has(workload: Workload, selector: Mapping[str, str]) -> bool:
    return selector.items() <= instance_labels(workload, template_of(workload)).items()


def _is_off(matched: Collection[Workload]) -> bool:
    return bool(matched) and not any(map(desired_replicas, matched))


def _is_on_its_way(workload: Workload) -> bool:
    newest = next(iter(workload.status.revisions), None)
    seen = (workload.status.observed_generation or 0) >= workload.generation
    return not seen or newest is None or newest.phase not in {Phase.COMPLETE, Phase.FAILED}


def _why(service: Service, matched: Collection[Workload]) -> str:
    if not matched:
        labels = ",".join(f"{label}={value}" for label, value in service.spec.selector.items())
        return (
            f"no workload in namespace {service.namespace} has the labels {labels} of the selector:"
            " correct spec.selector, or apply the workload"
        )
    names = [f"{one.KIND.singular}/{one.name}" for one in matched]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"no instance of {', '.join(names[:_SHOWN])}{more} is ready:"
        f" see `upwell explain {names[0]}`"
    )


@dataclass(frozen=True, slots=True)
class MissingEndpoints:
    """Services without endpoints, since when and why; times are in UTC."""

    since: Mapping[ObjectKey, datetime] = field(default_factory=dict)
    why: Mapping[ObjectKey, str] = field(default_factory=dict)

    def next(self, why: Mapping[ObjectKey, str], now: datetime) -> "MissingEndpoints":
        """Return what follows when these are without endpoints now."""
        return MissingEndpoints({key: self.since.get(key, now) for key in why}, why)

    def until(self, now: datetime) -> datetime | None:
        """Return when the grace time of the next is over."""
        ends = [since + GRACE for since in self.since.values()]
        return min((end for end in ends if end > now), default=None)

    def condition(
        self, services: Collection[ObjectKey], before: Condition | None, now: datetime
    ) -> Condition | None:
        """Return the condition of what leads to `services`; it is there once none had endpoints."""
        if not services or not all(key in self.why for key in services):
            if before is None:
                return None
            return Condition(type=ENDPOINTS, status="True", reason="EndpointsReady")
        if any(now - self.since[key] < GRACE for key in services):
            return before
        message = "; ".join(dict.fromkeys(self.why[key] for key in services))
        return Condition(type=ENDPOINTS, status="False", reason="NoEndpoints", message=message)
