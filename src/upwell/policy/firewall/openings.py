"""Openings that policies come to: shared by those that are treated alike, bounded by namespace.

A policy of a few kilobytes may mean millions of them, for each instance anew. What goes beyond the
bounds of its namespace is closed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_network, summarize_address_range

from upwell.api.networking.network_policy import IPBlock
from upwell.firewall.interface import Access

TCP = 6
MAX_EXPANDED = 131_072
"""Openings that the policies of one namespace come to."""
MAX_JOINED = 524_288
"""Openings of instances of one namespace whose policies differ, together."""
MAX_LOOKS = 4_000_000
"""Labels of instances that the selectors of one namespace's policies are compared with."""
_LAST = int(IPv4Address("255.255.255.255"))


class Room:
    """An amount that each namespace has for itself."""

    def __init__(self, most: int) -> None:
        self._left: defaultdict[str, int] = defaultdict(lambda: most)
        self.full: set[str] = set()
        """Namespaces that have asked for more."""

    def take(self, namespace: str, amount: int) -> bool:
        """Take an amount; False: there is no room for it, nor for anything after it."""
        if namespace in self.full or amount > self._left[namespace]:
            self.full.add(namespace)
            return False
        self._left[namespace] -= amount
        return True


class Openings:
    """Connections of all that are treated alike, to be asked by network and TCP port."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.networks_at = cache(self._networks_at)

    def _networks_at(self, port: int) -> frozenset[IPv4Network]:
        """Return the networks that a TCP port is open for."""
        return frozenset(
            one.network
            for one in self.access
            if one.protocol in {0, TCP} and one.first <= port <= one.last
        )

    def covers(self, network: IPv4Network, port: int) -> bool:
        """Return True if a TCP port is open for a whole network."""
        return is_within(network, self.networks_at(port))


def common(some: Iterable[IPv4Network], others: Iterable[IPv4Network]) -> set[IPv4Network]:
    """Return what is in both: of two networks that overlap, the smaller one."""
    some, others = frozenset(some), frozenset(others)
    inside = {one for one in some if is_within(one, others)}
    return inside | {one for one in others if is_within(one, some)}


def is_within(network: IPv4Network, others: frozenset[IPv4Network]) -> bool:
    """Return True if a network, or one that holds it, is among the others."""
    return any(
        network.supernet(new_prefix=length) in others for length in range(network.prefixlen + 1)
    )


def without_exceptions(block: IPBlock) -> Iterator[IPv4Network]:
    """Yield the networks of an IPv4 block that nothing excepts."""
    whole = IPv4Network(block.cidr, strict=False)
    parts = (ip_network(text, strict=False) for text in block.except_)
    excepted = sorted(
        (int(one.network_address), int(one.broadcast_address))
        for one in parts
        if isinstance(one, IPv4Network)
    )
    first, last = int(whole.network_address), int(whole.broadcast_address)
    for begin, end in excepted:
        if begin > last:
            break
        if begin > first:
            yield from _between(first, begin - 1)
        first = max(first, end + 1)
    if first <= last:
        yield from _between(first, last)


def _between(first: int, last: int) -> Iterator[IPv4Network]:
    yield from summarize_address_range(IPv4Address(first), IPv4Address(min(last, _LAST)))
