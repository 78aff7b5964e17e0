"""Explanation of where a Service or a Route leads: the workloads, and whether they are ready."""

from collections.abc import Iterator, Sequence

from upwell.api.core import Service
from upwell.api.meta import ObjectKey, Resource
from upwell.api.route import Route
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.rollouts.settings import Workload, instance_labels, template_of
from upwell.policy.rollouts.summary import desired_replicas
from upwell.policy.routing.table import wanted_targets


def destinations(snapshot: Snapshot, asked: Resource) -> Iterator[Statement]:
    """Yield where requests to a Service or Route go, as HELD where nobody can answer them."""
    match asked:
        case Service():
            yield from _of_service(snapshot, asked)
        case Route():
            for target in wanted_targets(asked):
                key = ObjectKey(Service.KIND.kind, asked.namespace, target.name)
                if (service := snapshot.services.get(key)) is not None:
                    yield from _of_service(snapshot, service)


def _of_service(snapshot: Snapshot, service: Service) -> Iterator[Statement]:
    selector = service.spec.selector
    if not selector or service.spec.type == "ExternalName":
        return
    selected = _selected(snapshot, service)
    if not selected:
        labels = ",".join(f"{label}={value}" for label, value in selector.items())
        yield Statement(
            Topic.HELD,
            f"{service.key} selects no workload of its namespace, so that nothing answers:"
            f" none has the labels of its selector, {labels}",
        )
    for workload in selected:
        ready, wanted = workload.status.ready_replicas, desired_replicas(workload)
        kind = workload.KIND.singular
        yield Statement(
            Topic.RUNNING if ready else Topic.HELD,
            f"{service.key} leads to {workload.key}, {ready} of {wanted} ready"
            + ("" if ready else f": `upwell explain {kind}/{workload.name}` says why"),
        )


def _selected(snapshot: Snapshot, service: Service) -> Sequence[Workload]:
    return [
        one
        for one in snapshot.workloads.values()
        if one.namespace == service.namespace
        and service.spec.selector.items() <= instance_labels(one, template_of(one)).items()
    ]
