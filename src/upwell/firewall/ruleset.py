"""From a FirewallTable to the text that nft(8) reads: pure.

One table of family inet holds all. What may connect is in sets, which the kernel looks up at once
however many elements they have; instances that are treated alike share a set.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, collapse_addresses
from itertools import pairwise

from upwell.api.values.addresses import METADATA_NETWORKS
from upwell.firewall.interface import MAX_PORT, Access, FirewallTable, Opening

_METADATA = tuple(
    str(one).removesuffix("/32") for one in METADATA_NETWORKS if isinstance(one, IPv4Network)
)
"""Addresses at which clouds serve credentials: link-local ones, and Alibaba Cloud's."""
_DNS = "meta l4proto { tcp, udp } th dport 53"
_MAX_ELEMENTS = 65_536
"""Of one set; beyond it, nothing is let in or out of whom it is about."""


def render(name: str, table: FirewallTable) -> str:
    """Return the ruleset that takes the place of the table `name`, whatever that holds."""
    return "\n".join(_lines(name, table)) + "\n"


def _lines(name: str, table: FirewallTable) -> Iterator[str]:
    groups = _Groups()
    ingress = {key: groups.of("in", access) for key, access in table.ingress.items()}
    egress = {key: groups.of("out", access) for key, access in table.egress.items()}
    services = {
        key: None if access is None else groups.of("in", access)
        for key, access in table.services.items()
    }
    # Created first, so that its removal cannot fail; all of it is one transaction.
    yield f"table inet {name}"
    yield f"delete table inet {name}"
    yield f"table inet {name} {{"
    yield from groups.lines()
    yield from _map("ingress", "ipv4_addr", {key: f"goto {to}" for key, to in ingress.items()})
    yield from _map("egress", "ipv4_addr", {key: f"jump {to}" for key, to in egress.items()})
    yield from _map(
        "services",
        "ipv4_addr . inet_service",
        {f"{ip} . {port}": f"goto {to}" if to else "accept" for (ip, port), to in services.items()},
    )
    yield from _set("known", "ipv4_addr", sorted(table.known))
    yield from _set(
        "machine",
        "ipv4_addr . inet_service",
        [f"{ip} . {port}" for ip, port in sorted(table.machine) if ip != "0.0.0.0"],  # noqa: S104
    )
    yield from _set(
        "machine_ports",
        "inet_service",
        sorted({str(port) for ip, port in table.machine if ip == "0.0.0.0"}),  # noqa: S104
    )
    yield from _chains(table)
    yield "}"


def _chains(table: FirewallTable) -> Iterator[str]:
    bridge = f'"{table.bridge.interface}"'
    # An instance that has just started is not known for a moment: where some may not connect to
    # everything, it connects to nothing until then.
    strangers = ["ip saddr != @known drop"] if table.strict else []
    allowed = ["ct state established,related accept", "meta nfproto != ipv4 drop"]
    metadata = f"ip daddr {{ {', '.join(_METADATA)} }} jump metadata"
    yield from _chain(
        "forward",
        "type filter hook forward priority filter - 5; policy accept;",
        f"iifname != {bridge} oifname != {bridge} accept",
        *allowed,
        f"iifname {bridge} jump outgoing",
        f"oifname {bridge} jump incoming",
    )
    yield from _chain(
        "outgoing",
        *([] if table.metadata else [metadata]),
        *strangers,
        "ip saddr vmap @egress",
    )
    if not table.metadata:
        # Some clouds have their resolver where they serve credentials. It is let through here
        # alone: what follows in `outgoing` holds for it as for every other address.
        resolvers = [f"ip daddr {ip} {_DNS} return" for ip in sorted(table.bridge.resolvers)]
        yield from _chain("metadata", *resolvers, "drop")
    yield from _chain("incoming", "ip daddr vmap @ingress", "accept" if table.open else "drop")
    yield from _chain(
        "input",
        "type filter hook input priority filter - 5; policy accept;",
        f"iifname != {bridge} accept",
        *allowed,
        "ip protocol icmp accept",
        *strangers,
        "ip saddr vmap @egress",
        f"ip daddr {table.bridge.services} goto served",
        f"{_DNS} accept",
        "tcp dport @machine_ports accept",
        "ip daddr . tcp dport @machine accept",
        "drop",
    )
    yield from _chain("served", "ip daddr . tcp dport vmap @services", "drop")


class _Groups:
    """Chains of those that are treated alike, with the sets that they look at."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, Access], str] = {}

    def of(self, direction: str, access: Access) -> str:
        """Return the name of the chain that decides by `access`."""
        return self._names.setdefault((direction, access), f"{direction}_{len(self._names)}")

    def lines(self) -> Iterator[str]:
        """Yield all sets and chains."""
        for (direction, access), name in self._names.items():
            peer, verdict = ("saddr", "accept") if direction == "in" else ("daddr", "return")
            rules = []
            whole, ports = _any_port(access), _by_port(access)
            if whole:
                yield from _set(f"{name}_any", "ipv4_addr", whole, "flags interval;")
                rules.append(f"ip {peer} @{name}_any {verdict}")
            if ports:
                kind = "ipv4_addr . inet_proto . inet_service"
                yield from _set(f"{name}_ports", kind, ports, "flags interval;")
                rules.append(f"ip {peer} . meta l4proto . th dport @{name}_ports {verdict}")
            yield from _chain(name, *rules, "drop")


def _any_port(access: Access) -> list[str]:
    nets = collapse_addresses(one.network for one in access if not one.protocol)
    return _texts(nets)


def _by_port(access: Access) -> list[str]:
    """Return elements that overlap nowhere, as sets of several fields have to be."""
    by_protocol: defaultdict[int, list[Opening]] = defaultdict(list)
    for one in access:
        if one.protocol:
            by_protocol[one.protocol].append(one)
    found: list[str] = []
    for protocol, openings in sorted(by_protocol.items()):
        for (first, last), networks in _disjoint(openings):
            ports = f"{first}" if first == last else f"{first}-{last}"
            found += [f"{network} . {protocol} . {ports}" for network in _texts(networks)]
            if len(found) > _MAX_ELEMENTS:
                return []
    return found


def _disjoint(
    openings: Iterable[Opening],
) -> Iterator[tuple[tuple[int, int], list[IPv4Network]]]:
    """Yield ranges of ports that do not overlap, each with all networks that it is open for."""
    begins: defaultdict[int, list[IPv4Network]] = defaultdict(list)
    ends: defaultdict[int, list[IPv4Network]] = defaultdict(list)
    for one in openings:
        begins[one.first].append(one.network)
        ends[one.last + 1].append(one.network)
    open_now: defaultdict[IPv4Network, int] = defaultdict(int)
    edges = sorted({*begins, *ends, MAX_PORT + 1})
    for first, following in pairwise(edges):
        for network in begins[first]:
            open_now[network] += 1
        for network in ends[first]:
            open_now[network] -= 1
            if not open_now[network]:
                del open_now[network]
        if open_now:
            yield (first, following - 1), list(collapse_addresses(open_now))


def _texts(networks: Iterable[IPv4Network]) -> list[str]:
    """Return networks as nft has them: a single address without its length."""
    return [
        str(one.network_address) if one.prefixlen == one.max_prefixlen else str(one)
        for one in networks
    ]


def _chain(name: str, *lines: str) -> Iterator[str]:
    yield f"  chain {name} {{"
    yield from (f"    {line}" for line in lines)
    yield "  }"


def _set(name: str, kind: str, elements: list[str], *more: str) -> Iterator[str]:
    yield f"  set {name} {{"
    yield f"    type {kind};"
    yield from (f"    {line}" for line in more)
    if elements:
        yield f"    elements = {{ {', '.join(elements)} }}"
    yield "  }"


def _map(name: str, kind: str, elements: Mapping[str, str]) -> Iterator[str]:
    yield f"  map {name} {{"
    yield f"    type {kind} : verdict;"
    if elements:
        listed = ", ".join(f"{key} : {verdict}" for key, verdict in sorted(elements.items()))
        yield f"    elements = {{ {listed} }}"
    yield "  }"
