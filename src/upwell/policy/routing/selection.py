"""Instances and workloads that the selectors of Services match, found by their labels."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from upwell.api.core import Service
from upwell.api.meta import ObjectKey
from upwell.api.pod import FAILED, SUCCEEDED, Pod, template_of_pod
from upwell.api.pod_template import PodTemplate
from upwell.policy.rollouts.history import find
from upwell.policy.rollouts.instance import key_of
from upwell.policy.rollouts.settings import Workload, instance_labels, template_of
from upwell.workload.interface import Instance

type _Label = tuple[str, str, str]
"""(namespace, label, value)"""


@dataclass(frozen=True, slots=True)
class Member:
    """An instance that a Service selects, with the template that it was made from."""

    instance: Instance
    template: PodTemplate


class Members:
    """The instances that Services may select: each call costs as much as the rarest label has."""

    def __init__(
        self,
        instances: Iterable[Instance],
        workloads: Mapping[ObjectKey, Workload],
        pods: Mapping[ObjectKey, Pod] = MappingProxyType({}),
    ) -> None:
        self._labelled: dict[_Label, list[tuple[Mapping[str, str], Member]]] = defaultdict(list)
        for instance in sorted(instances, key=lambda one: one.name):
            owner = key_of(instance.owner)
            if (pod := pods.get(owner)) is not None:
                self._add(pod.namespace, pod.labels, Member(instance, template_of_pod(pod)))
            workload = workloads.get(owner)
            if workload is None or instance.role:
                continue  # a hook or a job serves nobody
            record = find(workload.status.revisions, instance.revision)
            template = record.template if record else template_of(workload)
            labels = instance_labels(workload, template)
            self._add(workload.namespace, labels, Member(instance, template))

    def _add(self, namespace: str, labels: Mapping[str, str], member: Member) -> None:
        for label, value in labels.items():
            self._labelled[namespace, label, value].append((labels, member))

    def of(self, service: Service) -> list[Member]:
        """Return the instances that a Service selects, in the order of their names."""
        selector = service.spec.selector
        found = [self._labelled.get(place, []) for place in _places(service)]
        rarest = min(found, key=len, default=[])
        return [one for labels, one in rarest if selector.items() <= labels.items()]


class Selectors:
    """The selectors of Services, found by the label of each that fewest others have."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._selectors: dict[_Label, list[Mapping[str, str]]] = defaultdict(list)
        counts = Counter(place for service in services for place in _places(service))
        for service in services:
            places = _places(service)
            if places:
                rarest = min(places, key=counts.__getitem__)
                self._selectors[rarest].append(service.spec.selector)

    def match(self, workload: Workload) -> bool:
        """Return True if a Service selects the template that the workload declares."""
        labels = instance_labels(workload, template_of(workload))
        return any(
            selector.items() <= labels.items()
            for selector in self._near(workload.namespace, labels)
        )

    def _near(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        for label in labels.items():
            yield from self._selectors.get((namespace, *label), ())


def _places(service: Service) -> list[_Label]:
    return [(service.namespace, label, value) for label, value in service.spec.selector.items()]


def selects_pod(service: Service, pod: Pod) -> bool:
    """Return True if a Service selects a stored Pod that has not ended."""
    if pod.status.phase in {SUCCEEDED, FAILED}:
        return False
    selector = service.spec.selector
    is_near = service.namespace == pod.namespace
    return bool(selector) and is_near and selector.items() <= pod.labels.items()
