"""Computes what is let through, from namespaces, NetworkPolicies, Services and what runs; pure.

An instance that no policy selects is open to its own namespace, and to others by its Services
alone. One that policies select is open to what these let in, and nothing else. Connections of the
machine itself (probes, requests for Routes by way of the router) are always let in, as those of a
node are in Kubernetes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network
from itertools import islice

from upwell.api.core import Service
from upwell.api.meta import ObjectKey
from upwell.api.networking.network_policy import (
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    PeerSelector,
)
from upwell.api.pod import Pod
from upwell.api.pod_template import PodSpec
from upwell.firewall.interface import MAX_PORT, Access, Bridge, FirewallTable, Opening
from upwell.policy.firewall.openings import (
    MAX_EXPANDED,
    MAX_JOINED,
    MAX_LOOKS,
    TCP,
    Openings,
    Room,
    common,
    without_exceptions,
)
from upwell.policy.firewall.selectors import InstancePeer, InstancePeers
from upwell.policy.rollouts.instance import POD_ROLE, key_of
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.policy.routing.claims import Place, is_inside
from upwell.policy.routing.selection import Members
from upwell.policy.routing.table import port_number_in, tcp_ports
from upwell.workload.interface import Instance

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_EVERYWHERE = IPv4Network("0.0.0.0/0")


class NetworkIsolation(StrEnum):
    """Access to instances that no NetworkPolicy selects, from other namespaces."""

    SERVICES = "services"
    """By their Services alone."""
    CLOSED = "closed"
    """None."""
    OPEN = "open"
    """By their own addresses too, and from outside of the machine, as in Kubernetes."""
    OFF = "off"
    """No filter at all, whatever policies say; there is no table of it."""


@dataclass(frozen=True, slots=True)
class FirewallRules:
    """Rules of the administrator's, beside the policies."""

    isolation: NetworkIsolation = NetworkIsolation.SERVICES
    machine: frozenset[Place] = frozenset()
    """Addresses and TCP ports of the machine that instances may connect to."""
    metadata: bool = False
    """Instances may connect to where clouds serve credentials."""


@dataclass(frozen=True, slots=True)
class FirewallState:
    """State that the table follows from."""

    bridge: Bridge
    rules: FirewallRules
    services: Sequence[Service]
    places: Mapping[Place, ObjectKey]
    """Listeners of the router, each with its owner: of those that ask for a place, one has it."""
    policies: Sequence[NetworkPolicy]
    namespaces: Mapping[str, Mapping[str, str]]
    """Namespace -> its labels."""
    workloads: Mapping[ObjectKey, Workload]
    instances: Sequence[Instance]
    pods: Mapping[ObjectKey, Pod] = field(default_factory=dict)
    """Those that are stored."""


@dataclass(frozen=True, slots=True)
class FirewallDecision:
    """The table, and what of the policies it cannot say."""

    table: FirewallTable
    faults: Mapping[ObjectKey, tuple[str, ...]] = field(default_factory=dict)


def decide(state: FirewallState) -> FirewallDecision:
    """Return what is let through; equal state gives an equal table."""
    return _Decision(state).result()


class _Decision:
    """One computation."""

    def __init__(self, state: FirewallState) -> None:
        self._state = state
        running = [one for one in state.instances if one.addresses]
        self._numbers = {one.name: number for number, one in enumerate(running)}
        peers = [_peer(one, state) for one in running]
        self._peers = InstancePeers(peers, state.namespaces)
        self._faults: defaultdict[ObjectKey, list[str]] = defaultdict(list)
        self._ingress: defaultdict[int, list[Access]] = defaultdict(list)
        """Instance that policies isolate -> what they let in; absent: none isolates it."""
        self._egress: defaultdict[int, list[Access]] = defaultdict(list)
        self._expanded, self._together = Room(MAX_EXPANDED), Room(MAX_JOINED)
        self._looks = Room(MAX_LOOKS)
        self._joined: dict[tuple[int, ...], Openings] = {}
        """Openings by the identities of the sets that they are joined of."""
        self._backends: dict[Place, list[tuple[int, int]]] = {}
        """Address and port of a Service -> its instances, each with the port that is meant."""

    def result(self) -> FirewallDecision:
        """Compute."""
        state = self._state
        members = Members(state.instances, state.workloads, state.pods)
        for service in state.services:
            self._add_backends(service, members)
        for policy in state.policies:
            self._add_policy(policy)
        isolation = state.rules.isolation
        own: dict[str, Access] = {}
        for peer in self._peers.all:
            if peer.namespace not in own and isolation is not NetworkIsolation.OPEN:
                own[peer.namespace] = self._own(peer.namespace)
        ingress = {one: self._together_of(one, sets).access for one, sets in self._ingress.items()}
        table = FirewallTable(
            bridge=state.bridge,
            ingress=dict(self._with_published(self._accesses(ingress, own))),
            egress=dict(self._accesses(self._egress_with_services(), {})),
            services=dict(self._service_accesses()),
            known=frozenset(ip for peer in self._peers.all for ip in peer.addresses),
            open=isolation is NetworkIsolation.OPEN,
            machine=state.rules.machine | frozenset(_machine_places(state)),
            metadata=state.rules.metadata,
        )
        self._tell_of_bounds()
        return FirewallDecision(table, {key: tuple(one) for key, one in self._faults.items()})

    def _tell_of_bounds(self) -> None:
        full = self._expanded.full | self._together.full | self._looks.full
        for policy in self._state.policies:
            if policy.namespace in full:
                self._faults[policy.key].append(
                    f"the policies of namespace {policy.namespace} come to more openings than a"
                    f" namespace has ({MAX_EXPANDED}; {MAX_JOINED} where instances differ): what"
                    " goes beyond is closed; write networks in the place of addresses"
                )

    def _add_backends(self, service: Service, members: Members) -> None:
        address = service.spec.cluster_ip
        if not address or not is_inside(address, self._state.bridge.services):
            return
        found = members.of(service)
        for port in tcp_ports(service):
            if self._state.places.get((address, port.port)) != service.key:
                continue
            backends = []
            for member in found:
                number = self._numbers.get(member.instance.name)
                target = port_number_in(port, member.template)
                if number is not None and target is not None:
                    backends.append((number, target))
            self._backends[address, port.port] = backends

    def _add_policy(self, policy: NetworkPolicy) -> None:
        selected = tuple(self._select(policy, policy.namespace, policy.spec.pod_selector))
        if "Ingress" in policy.spec.directions:
            for number in selected:
                self._ingress[number]  # isolated, even if nothing is let in
            for rule in policy.spec.ingress:
                self._add_ingress(policy, rule.from_, rule.ports, selected)
        if "Egress" in policy.spec.directions:
            for number in selected:
                self._egress[number]
            for way in policy.spec.egress:
                openings = self._egress_openings(policy, way.to, way.ports)
                for number in selected:
                    self._egress[number].append(openings)

    def _add_ingress(
        self,
        policy: NetworkPolicy,
        peers: Sequence[NetworkPolicyPeer],
        ports: Sequence[NetworkPolicyPort],
        selected: Iterable[int],
    ) -> None:
        networks = self._networks(policy, peers)
        made: dict[tuple[tuple[int, int, int], ...], Access] = {}
        for number in selected:
            numbers = tuple(self._ports(ports, number))
            if numbers not in made:
                made[numbers] = self._openings(policy, networks, numbers)
            self._ingress[number].append(made[numbers])

    def _egress_openings(
        self,
        policy: NetworkPolicy,
        peers: Sequence[NetworkPolicyPeer],
        ports: Sequence[NetworkPolicyPort],
    ) -> Access:
        if not any(isinstance(port.port, str) for port in ports):
            numbers = tuple(self._ports(ports, None))
            return self._openings(policy, self._networks(policy, peers), numbers)
        # A name means another number with each instance.
        found: set[Opening] = set()
        for number in self._selected(policy, peers) if peers else range(len(self._peers.all)):
            networks = _hosts(self._peers.all[number])
            found |= self._openings(policy, networks, tuple(self._ports(ports, number)))
        return frozenset(found)

    def _openings(
        self,
        policy: NetworkPolicy,
        networks: Collection[IPv4Network],
        ports: Sequence[tuple[int, int, int]],
    ) -> Access:
        """Return the openings of some networks at some ports; none where there is no room."""
        if not self._expanded.take(policy.namespace, len(networks) * len(ports)):
            return frozenset()
        return frozenset(Opening(network, *one) for one in ports for network in networks)

    def _together_of(self, number: int, sets: Iterable[Access]) -> Openings:
        """Return what an instance's policies let through together."""
        parts = {id(one): one for one in sets}
        key = tuple(sorted(parts))
        if key not in self._joined:
            amount = sum(map(len, parts.values())) if len(parts) > 1 else 0
            namespace = self._peers.all[number].namespace
            has_room = self._together.take(namespace, amount)
            access = frozenset[Opening]().union(*parts.values()) if has_room else frozenset()
            self._joined[key] = Openings(access)
        return self._joined[key]

    def _ports(
        self, ports: Sequence[NetworkPolicyPort], number: int | None
    ) -> Iterator[tuple[int, int, int]]:
        """Yield protocol, first and last port; `number` is whose names of ports count."""
        if not ports:
            yield 0, 0, MAX_PORT
        for port in ports:
            protocol = _PROTOCOLS[port.protocol]
            if port.port is None:
                yield protocol, 0, MAX_PORT
            elif isinstance(port.port, int):
                yield protocol, port.port, port.end_port or port.port
            elif number is not None:
                found, spoken = self._peers.all[number].ports.get(port.port, (0, ""))
                if found and spoken == port.protocol:
                    yield protocol, found, found

    def _networks(
        self, policy: NetworkPolicy, peers: Sequence[NetworkPolicyPeer]
    ) -> set[IPv4Network]:
        if not peers:
            return {_EVERYWHERE}
        if policy.namespace in self._expanded.full:
            return set()
        found = {
            network
            for number in self._selected(policy, peers)
            for network in _hosts(self._peers.all[number])
        }
        left = MAX_EXPANDED
        for peer in peers:
            if peer.ip_block is not None:
                if ":" in peer.ip_block.cidr:
                    self._faults[policy.key].append(
                        f"ipBlock {peer.ip_block.cidr} matches nothing: instances have IPv4 alone"
                    )
                else:
                    before = len(found)
                    # One more than there is room for, so that all of it is refused.
                    found.update(islice(without_exceptions(peer.ip_block), left + 1))
                    left = max(left - len(found) + before, 0)
        return found

    def _selected(self, policy: NetworkPolicy, peers: Sequence[NetworkPolicyPeer]) -> Iterator[int]:
        """Yield the instances that peers select by labels."""
        for peer in peers:
            if peer.ip_block is not None:
                continue
            namespaces = [policy.namespace]
            if peer.namespace_selector is not None:
                namespaces = self._peers.namespaces(peer.namespace_selector)
            for namespace in namespaces:
                if peer.pod_selector is None:
                    yield from self._peers.in_namespace(namespace)
                else:
                    yield from self._select(policy, namespace, peer.pod_selector)

    def _select(
        self, policy: NetworkPolicy, namespace: str, selector: PeerSelector
    ) -> Iterable[int]:
        """Return the instances that a selector of a policy matches.

        Where that takes too long, no peers, and all that the policy might isolate.
        """
        if self._looks.take(policy.namespace, self._peers.looks(namespace, selector)):
            return self._peers.select(namespace, selector)
        isolates = selector is policy.spec.pod_selector
        return self._peers.in_namespace(namespace) if isolates else ()

    def _own(self, namespace: str) -> Access:
        """Return the access that instances have to others of their namespace."""
        numbers = self._peers.in_namespace(namespace)
        return frozenset(Opening(net) for one in numbers for net in _hosts(self._peers.all[one]))

    def _accesses(
        self, isolated: Mapping[int, Access], own: Mapping[str, Access]
    ) -> Iterator[tuple[str, Access]]:
        """Yield the access by address; `own` is that of instances which nothing isolates."""
        for number, peer in enumerate(self._peers.all):
            access = isolated.get(number)
            found = own.get(peer.namespace) if access is None else access
            if found is not None:
                yield from ((address, found) for address in peer.addresses)

    def _with_published(
        self, accesses: Iterable[tuple[str, Access]]
    ) -> Iterator[tuple[str, Access]]:
        """Yield the access with that to published ports: a port of the machine is open to all."""
        published = {
            address: frozenset(
                Opening(_EVERYWHERE, _PROTOCOLS[protocol], port, port)
                for port, protocol in peer.published
            )
            for peer in self._peers.all
            for address in peer.addresses
            if peer.published
        }
        for address, access in accesses:
            opened = published.get(address)
            yield address, access if opened is None else access | opened

    def _egress_with_services(self) -> dict[int, Access]:
        """Return the ways out, with the Services all of whose instances may be connected to."""
        found: dict[Openings, Access] = {}
        ways: dict[int, Access] = {}
        for number, sets in self._egress.items():
            openings = self._together_of(number, sets)
            if openings not in found:
                services = (
                    Opening(IPv4Network(address), TCP, port, port)
                    for (address, port), backends in self._backends.items()
                    if backends and all(self._reaches(openings, one, to) for one, to in backends)
                )
                found[openings] = frozenset((*self._beside_services(openings.access), *services))
            ways[number] = found[openings]
        return ways

    def _beside_services(self, openings: Iterable[Opening]) -> Iterator[Opening]:
        """Yield the openings without the addresses of Services: what is behind those counts."""
        services = self._state.bridge.services
        for one in openings:
            if not one.network.overlaps(services):
                yield one
            elif services.subnet_of(one.network) and services != one.network:
                for rest in one.network.address_exclude(services):
                    yield one._replace(network=rest)

    def _reaches(self, openings: Openings, number: int, port: int) -> bool:
        """Return True if a TCP port of an instance is among the openings."""
        return all(openings.covers(one, port) for one in _hosts(self._peers.all[number]))

    def _service_accesses(self) -> Iterator[tuple[Place, Access | None]]:
        """Yield who may connect to a Service: who may connect to each of its instances."""
        closed = self._state.rules.isolation is NetworkIsolation.CLOSED
        for place, backends in self._backends.items():
            isolated = [(one, port) for one, port in backends if one in self._ingress]
            if not isolated and not closed:
                yield place, None
                continue
            allowed: set[IPv4Network] | None = None
            for number, port in isolated:
                through = self._together_of(number, self._ingress[number]).networks_at(port)
                allowed = set(through) if allowed is None else common(allowed, through)
            if allowed is None or (closed and len(isolated) < len(backends)):
                own = {one.network for one in self._own(self._state.places[place].namespace)}
                allowed = own if allowed is None else common(allowed, own)
            yield place, frozenset(Opening(network) for network in allowed)


def _peer(instance: Instance, state: FirewallState) -> InstancePeer:
    ports: dict[str, tuple[int, str]] = {}
    labels, spec = instance.labels, PodSpec()
    owner = key_of(instance.owner)
    if (pod := state.pods.get(owner)) is not None:
        labels, spec = pod.labels, pod.spec
    elif (workload := state.workloads.get(owner)) is not None:
        spec = template_of(workload).spec
    for container in spec.containers:
        for port in container.ports:
            if port.name:
                ports[port.name] = (port.container_port, port.protocol)
    published = published_ports(spec) if instance.role in {"", POD_ROLE} else ()
    return InstancePeer(
        instance.owner.namespace,
        labels,
        instance.addresses,
        ports,
        tuple((port.container_port, port.protocol) for port in published),
    )


def _hosts(peer: InstancePeer) -> list[IPv4Network]:
    return [IPv4Network(address) for address in peer.addresses]


def _machine_places(state: FirewallState) -> Iterator[Place]:
    """Yield where the router listens on the machine for everybody: node ports and host ports."""
    for address, port in state.places:
        if ":" not in address and not is_inside(address, state.bridge.services):
            yield address, port
