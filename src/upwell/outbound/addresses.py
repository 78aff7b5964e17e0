"""Addresses to which nothing is sent on behalf of an object, by their ranges; pure.

RFC 6890 has the ranges; what an IPv6 address may carry inside are RFC 4291, 2.5.5 (IPv4-mapped,
IPv4-compatible), RFC 6052 and 8215 (NAT64), RFC 3056 (6to4) and RFC 4380 (Teredo).
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from upwell.api.values.addresses import is_metadata_address

type IpAddress = IPv4Address | IPv6Address

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_EMBEDDING = (
    IPv6Network("::/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
)
"""Networks whose addresses end with one of IPv4: compatible, and both of NAT64."""
_IPV4_BITS = 0xFFFF_FFFF


def parse_address(text: str) -> IpAddress:
    """Return the address that a socket is connected to, without its zone; raises ValueError."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def carried(address: IpAddress) -> Iterator[IpAddress]:
    """Yield an address, and those that it carries inside: a translator would connect to them."""
    yield address
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return
    if any(address in network for network in _EMBEDDING):
        yield IPv4Address(int(address) & _IPV4_BITS)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def refused_range(address: IpAddress) -> str:
    """Return the range of an address that is refused, as `a loopback address`; empty: none."""
    for one in carried(address):
        if said := _range(one):
            return said
    return ""


def _range(address: IpAddress) -> str:
    found = {
        "a link-local address": address.is_link_local,
        "the address of a metadata service": is_metadata_address(str(address)),
        "a loopback address": address.is_loopback,
        "a multicast address": address.is_multicast,
        "an unspecified address": address.is_unspecified or address in _THIS_NETWORK,
        "a reserved address": isinstance(address, IPv4Address) and address.is_reserved,
    }
    return next((name for name, holds in found.items() if holds), "")
