"""Computes what is let through, from namespaces, NetworkPolicies, Services and what runs; pure.

An instance that no policy selects is open to its own namespace, and to others by its Services
alone. One that policies select is open to what these let in, and nothing else. Connections of the
machine itself (probes, requests for Routes by way of the router) are always let in, as those of a
node are in Kubernetes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, ip_network

from upwell.api.core import Service
from upwell.api.meta import ObjectKey
from upwell.api.networking.network_policy import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from upwell.firewall.interface import MAX_PORT, Access, Bridge, FirewallTable, Opening
from upwell.policy.firewall.selectors import InstancePeer, InstancePeers
from upwell.policy.rollouts.instance import key_of
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.routing.claims import Place, is_inside
from upwell.policy.routing.selection import Members
from upwell.policy.routing.table import port_number_in, tcp_ports
from upwell.workload.interface import Instance

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_TCP = 6
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
        peers = [_peer(one, state.workloads) for one in running]
        self._peers = InstancePeers(peers, state.namespaces)
        self._faults: defaultdict[ObjectKey, list[str]] = defaultdict(list)
        self._ingress: defaultdict[int, set[Opening]] = defaultdict(set)
        """Instance that policies isolate -> what they let in; absent: none isolates it."""
        self._egress: defaultdict[int, set[Opening]] = defaultdict(set)
        self._backends: dict[Place, list[tuple[int, int]]] = {}
        """Address and port of a Service -> its instances, each with the port that is meant."""

    def result(self) -> FirewallDecision:
        """Compute."""
        state = self._state
        members = Members(state.instances, state.workloads)
        for service in state.services:
            self._add_backends(service, members)
        for policy in state.policies:
            self._add_policy(policy)
        isolation = state.rules.isolation
        own: dict[str, Access] = {}
        for peer in self._peers.all:
            if peer.namespace not in own and isolation is not NetworkIsolation.OPEN:
                own[peer.namespace] = self._own(peer.namespace)
        table = FirewallTable(
            bridge=state.bridge,
            ingress=dict(self._accesses(self._ingress, own)),
            egress=dict(self._accesses(self._egress_with_services(), {})),
            services=dict(self._service_accesses()),
            known=frozenset(ip for peer in self._peers.all for ip in peer.addresses),
            open=isolation is NetworkIsolation.OPEN,
            machine=state.rules.machine | frozenset(_machine_places(state)),
            metadata=state.rules.metadata,
        )
        return FirewallDecision(table, {key: tuple(one) for key, one in self._faults.items()})

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
        selected = self._peers.select(policy.namespace, policy.spec.pod_selector)
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
                    self._egress[number] |= openings

    def _add_ingress(
        self,
        policy: NetworkPolicy,
        peers: Sequence[NetworkPolicyPeer],
        ports: Sequence[NetworkPolicyPort],
        selected: Iterable[int],
    ) -> None:
        networks = self._networks(policy, peers)
        for number in selected:
            for protocol, first, last in self._ports(ports, number):
                self._ingress[number] |= {
                    Opening(network, protocol, first, last) for network in networks
                }

    def _egress_openings(
        self,
        policy: NetworkPolicy,
        peers: Sequence[NetworkPolicyPeer],
        ports: Sequence[NetworkPolicyPort],
    ) -> set[Opening]:
        if not any(isinstance(port.port, str) for port in ports):
            networks = self._networks(policy, peers)
            return {
                Opening(network, *one) for one in self._ports(ports, None) for network in networks
            }
        # A name means another number with each instance.
        numbers = self._selected(policy, peers) if peers else range(len(self._peers.all))
        return {
            Opening(network, *one)
            for number in numbers
            for one in self._ports(ports, number)
            for network in _hosts(self._peers.all[number])
        }

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
        found = {
            network
            for number in self._selected(policy, peers)
            for network in _hosts(self._peers.all[number])
        }
        for peer in peers:
            if peer.ip_block is not None:
                if ":" in peer.ip_block.cidr:
                    self._faults[policy.key].append(
                        f"ipBlock {peer.ip_block.cidr} matches nothing: instances have IPv4 alone"
                    )
                else:
                    found.update(_without_exceptions(peer.ip_block))
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
                    yield from self._peers.select(namespace, peer.pod_selector)

    def _own(self, namespace: str) -> Access:
        """Return the access that instances have to others of their namespace."""
        numbers = self._peers.in_namespace(namespace)
        return frozenset(Opening(net) for one in numbers for net in _hosts(self._peers.all[one]))

    def _accesses(
        self, isolated: Mapping[int, Iterable[Opening]], own: Mapping[str, Access]
    ) -> Iterator[tuple[str, Access]]:
        """Yield the access by address; `own` is that of instances which nothing isolates."""
        for number, peer in enumerate(self._peers.all):
            access = isolated.get(number)
            found = own.get(peer.namespace) if access is None else frozenset(access)
            if found is not None:
                yield from ((address, found) for address in peer.addresses)

    def _egress_with_services(self) -> dict[int, set[Opening]]:
        """Return the ways out, with the Services all of whose instances may be connected to."""
        found: dict[int, set[Opening]] = {}
        for number, openings in self._egress.items():
            services = {
                Opening(IPv4Network(address), _TCP, port, port)
                for (address, port), backends in self._backends.items()
                if backends and all(self._reaches(openings, one, to) for one, to in backends)
            }
            found[number] = {*self._beside_services(openings), *services}
        return found

    def _beside_services(self, openings: Iterable[Opening]) -> Iterator[Opening]:
        """Yield the openings without the addresses of Services: what is behind those counts."""
        services = self._state.bridge.services
        for one in openings:
            if not one.network.overlaps(services):
                yield one
            elif services.subnet_of(one.network) and services != one.network:
                for rest in one.network.address_exclude(services):
                    yield one._replace(network=rest)

    def _reaches(self, openings: Iterable[Opening], number: int, port: int) -> bool:
        """Return True if a TCP port of an instance is among the openings."""
        wanted = _hosts(self._peers.all[number])
        return all(any(_covers(one, network, port) for one in openings) for network in wanted)

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
                through = {
                    one.network
                    for one in self._ingress[number]
                    if one.protocol in {0, _TCP} and one.first <= port <= one.last
                }
                allowed = through if allowed is None else _common(allowed, through)
            if allowed is None or (closed and len(isolated) < len(backends)):
                own = {one.network for one in self._own(self._state.places[place].namespace)}
                allowed = own if allowed is None else _common(allowed, own)
            yield place, frozenset(Opening(network) for network in allowed)


def _peer(instance: Instance, workloads: Mapping[ObjectKey, Workload]) -> InstancePeer:
    ports: dict[str, tuple[int, str]] = {}
    workload = workloads.get(key_of(instance.owner))
    if workload is not None:
        for container in template_of(workload).spec.containers:
            for port in container.ports:
                if port.name:
                    ports[port.name] = (port.container_port, port.protocol)
    return InstancePeer(instance.owner.namespace, instance.labels, instance.addresses, ports)


def _hosts(peer: InstancePeer) -> list[IPv4Network]:
    return [IPv4Network(address) for address in peer.addresses]


def _covers(opening: Opening, network: IPv4Network, port: int) -> bool:
    return (
        opening.protocol in {0, _TCP}
        and opening.first <= port <= opening.last
        and network.subnet_of(opening.network)
    )


def _common(some: set[IPv4Network], others: set[IPv4Network]) -> set[IPv4Network]:
    """Return what is in both: of two networks that overlap, the smaller one."""
    inside = {one for one in some if _is_within(one, others)}
    return inside | {one for one in others if _is_within(one, some)}


def _is_within(network: IPv4Network, others: set[IPv4Network]) -> bool:
    """Return True if a network, or one that holds it, is among the others."""
    return any(
        network.supernet(new_prefix=length) in others for length in range(network.prefixlen + 1)
    )


def _without_exceptions(block: IPBlock) -> list[IPv4Network]:
    """Return the networks of a block that nothing excepts."""
    found = [IPv4Network(block.cidr, strict=False)]
    for text in block.except_:
        part = ip_network(text, strict=False)
        if not isinstance(part, IPv4Network):
            continue
        rest: list[IPv4Network] = []
        for network in found:
            if part.subnet_of(network):
                rest += network.address_exclude(part)
            elif not network.subnet_of(part):
                rest.append(network)
        found = rest
    return found


def _machine_places(state: FirewallState) -> Iterator[Place]:
    """Yield where the router listens on the machine for everybody: node ports and host ports."""
    for address, port in state.places:
        if ":" not in address and not is_inside(address, state.bridge.services):
            yield address, port
