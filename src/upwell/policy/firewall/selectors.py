"""Instances by labels: each look-up costs as much as the rarest label has instances."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from upwell.api.networking.network_policy import PeerSelector

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
    published: tuple[tuple[int, str], ...] = ()
    """Its ports that have a port of the machine, and are reached past the router."""


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
        is_match = matcher(selector)
        return [
            name
            for name in self._in
            if is_match({**self._namespaces.get(name, {}), NAME_LABEL: name})
        ]

    def looks(self, namespace: str, selector: PeerSelector) -> int:
        """Return how many labels are looked at to select with a selector."""
        requirements = len(selector.match_labels) + len(selector.match_expressions)
        return 1 + len(self._candidates(namespace, selector)) * requirements

    def _select(self, namespace: str, selector: PeerSelector) -> Iterable[int]:
        is_match = matcher(selector)
        candidates = self._candidates(namespace, selector)
        return (one for one in candidates if is_match(self.all[one].labels))

    def _candidates(self, namespace: str, selector: PeerSelector) -> Sequence[int]:
        near = [
            self._labelled.get((namespace, label, value), [])
            for label, value in selector.match_labels.items()
        ]
        return min(near, key=len) if near else self.in_namespace(namespace)


def matcher(selector: PeerSelector) -> Callable[[Mapping[str, str]], bool]:
    """Return what says whether labels match a selector (Kubernetes' LabelSelector)."""
    wanted = selector.match_labels.items()
    requirements = [
        (one.operator, one.key, frozenset(one.values)) for one in selector.match_expressions
    ]

    def is_match(labels: Mapping[str, str]) -> bool:
        return wanted <= labels.items() and all(_holds(*one, labels) for one in requirements)

    return is_match


def _holds(operator: str, key: str, values: frozenset[str], labels: Mapping[str, str]) -> bool:
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:  # DoesNotExist
            return key not in labels
