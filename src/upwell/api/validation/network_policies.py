"""Rules of a NetworkPolicy beyond its types, as Kubernetes has them."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from upwell.api.networking.network_policy import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    PeerSelector,
)
from upwell.api.values.faults import Fault

MAX_OPENINGS = 20_000
"""Peers times ports, over all rules of a policy."""
_MAX_PORT = 65535


def validate_network_policy(policy: NetworkPolicy) -> Iterator[Fault]:
    """Yield every fault."""
    spec = policy.spec
    yield from _selector(spec.pod_selector, "spec.podSelector")
    count = 0
    for field, peers_field, rules in (
        ("ingress", "from", [(rule.from_, rule.ports) for rule in spec.ingress]),
        ("egress", "to", [(rule.to, rule.ports) for rule in spec.egress]),
    ):
        for at, (peers, ports) in enumerate(rules):
            path = f"spec.{field}[{at}]"
            count += max(_size(peers), 1) * max(len(ports), 1)
            for peer_at, peer in enumerate(peers):
                yield from _peer(peer, f"{path}.{peers_field}[{peer_at}]")
            for port_at, port in enumerate(ports):
                yield from _port(port, f"{path}.ports[{port_at}]")
    if count > MAX_OPENINGS:
        yield Fault(
            "spec", f"peers times ports are {count}, more than {MAX_OPENINGS}: write several"
        )


def _size(peers: Sequence[NetworkPolicyPeer]) -> int:
    return sum(1 + len(peer.ip_block.except_ if peer.ip_block else ()) for peer in peers)


def _peer(peer: NetworkPolicyPeer, path: str) -> Iterator[Fault]:
    selectors = [one for one in (peer.pod_selector, peer.namespace_selector) if one is not None]
    if peer.ip_block is not None:
        if selectors:
            yield Fault(path, "ipBlock stands alone: write a peer of its own for the selectors")
        yield from _block(peer.ip_block, f"{path}.ipBlock")
    elif not selectors:
        yield Fault(path, "needs podSelector, namespaceSelector or ipBlock")
    for selector, name in (
        (peer.pod_selector, "podSelector"),
        (peer.namespace_selector, "namespaceSelector"),
    ):
        if selector is not None:
            yield from _selector(selector, f"{path}.{name}")


def _block(block: IPBlock, path: str) -> Iterator[Fault]:
    whole = _network(block.cidr)
    if whole is None:
        yield Fault(f"{path}.cidr", f"{block.cidr!r} is not a network such as 192.0.2.0/24")
        return
    for at, text in enumerate(block.except_):
        part = _network(text)
        if part is None:
            yield Fault(f"{path}.except[{at}]", f"{text!r} is not a network such as 192.0.2.0/24")
        elif part == whole or not _is_within(part, whole):
            yield Fault(f"{path}.except[{at}]", f"{text} is no part of {block.cidr}")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _is_within(part: IPv4Network | IPv6Network, whole: IPv4Network | IPv6Network) -> bool:
    if isinstance(part, IPv4Network):
        return isinstance(whole, IPv4Network) and part.subnet_of(whole)
    return isinstance(whole, IPv6Network) and part.subnet_of(whole)


def _port(port: NetworkPolicyPort, path: str) -> Iterator[Fault]:
    if isinstance(port.port, int) and not 1 <= port.port <= _MAX_PORT:
        yield Fault(f"{path}.port", f"{port.port} is not between 1 and {_MAX_PORT}")
    if port.port == "":
        yield Fault(f"{path}.port", "is empty")
    if port.end_port is None:
        return
    if not isinstance(port.port, int):
        yield Fault(f"{path}.endPort", "needs a port that is a number")
    elif port.end_port < port.port:
        yield Fault(f"{path}.endPort", f"{port.end_port} is below the port, {port.port}")


def _selector(selector: PeerSelector, path: str) -> Iterator[Fault]:
    for at, one in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{at}].values"
        needs_values = one.operator in {"In", "NotIn"}
        if needs_values and not one.values:
            yield Fault(where, f"required for {one.operator}")
        if one.values and not needs_values:
            yield Fault(where, f"must be empty for {one.operator}")
