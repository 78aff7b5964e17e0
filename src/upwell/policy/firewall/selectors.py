"""Instances by labels: each look-up costs as much as the rarest label has instances."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from upwell.api.networking.network_policy import PeerSelector, SelectorRequirement

NAME_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has, with its own name."""


@dataclass(frozen=True, slots=True)
class InstancePeer:
    """An instance on the network."""

    namespace: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    """Usually one; while init containers run, theirs."""
    ports: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Name of a container's port -> its number and protocol."""


class InstancePeers:
    """Index of instances, by namespace and label."""

    def __init__(
        self, peers: Iterable[InstancePeer], namespaces: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.all = tuple(peers)
        self._namespaces = namespaces
        """Namespace -> its labels."""
        self._in: defaultdict[str, list[int]] = defaultdict(list)
        self._labelled: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        for number, peer in enumerate(self.all):
            self._in[peer.namespace].append(number)
            for label, value in peer.labels.items():
                self._labelled[peer.namespace, label, value].append(number)
        self._found: dict[tuple[str, str], tuple[int, ...]] = {}

    def in_namespace(self, namespace: str) -> list[int]:
        """Return the numbers of the instances of a namespace."""
        return self._in.get(namespace, [])

    def select(self, namespace: str, selector: PeerSelector) -> tuple[int, ...]:
        """Return the numbers of a namespace's instances that a selector matches."""
        key = (namespace, selector.model_dump_json())
        if key not in self._found:
            self._found[key] = tuple(self._select(namespace, selector))
        return self._found[key]

    def namespaces(self, selector: PeerSelector) -> list[str]:
        """Return the namespaces with instances that a selector matches."""
        return [
            name
            for name in self._in
            if matches(selector, {**self._namespaces.get(name, {}), NAME_LABEL: name})
        ]

    def _select(self, namespace: str, selector: PeerSelector) -> Iterable[int]:
        near = [
            self._labelled.get((namespace, label, value), [])
            for label, value in selector.match_labels.items()
        ]
        candidates = min(near, key=len) if near else self.in_namespace(namespace)
        return (one for one in candidates if matches(selector, self.all[one].labels))


def matches(selector: PeerSelector, labels: Mapping[str, str]) -> bool:
    """Return True if a selector matches these labels (Kubernetes' LabelSelector)."""
    return selector.match_labels.items() <= labels.items() and all(
        _holds(one, labels) for one in selector.match_expressions
    )


def _holds(one: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    match one.operator:
        case "In":
            return labels.get(one.key) in one.values
        case "NotIn":
            return labels.get(one.key) not in one.values
        case "Exists":
            return one.key in labels
        case "DoesNotExist":
            return one.key not in labels
