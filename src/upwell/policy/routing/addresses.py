"""Gives Services addresses of their own: in reach of instances where the machine can do that."""

import hashlib
import ipaddress
from collections.abc import Collection, Iterable

from upwell.api.core import Service

LOOPBACK = ipaddress.IPv4Network("127.77.0.0/16")
"""In reach of the machine alone."""
_HOSTS = 254
"""Last octets in use, 1 to 254: 0 and 255 look like a network and a broadcast address."""


class AddressesExhaustedError(Exception):
    """Every address of the network is taken."""


def allocate(
    service: Service, taken: Collection[str], network: ipaddress.IPv4Network = LOOPBACK
) -> str:
    """Return a free address, the same for the same name as long as that is free."""
    count = network.num_addresses // 256 * _HOSTS
    name = f"{service.namespace}/{service.name}".encode()
    first = int.from_bytes(hashlib.sha256(name).digest()[:8]) % count
    for step in range(count):
        high, low = divmod((first + step) % count, _HOSTS)
        address = str(network.network_address + high * 256 + low + 1)
        if address not in taken:
            return address
    raise AddressesExhaustedError(f"no address of {network} is free for {service.key}")


def is_ours(address: str, network: ipaddress.IPv4Network) -> bool:
    """Return True if we gave out the address, from `network` or from the loopback network."""
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return found in network or found in LOOPBACK


def needs_address(service: Service, network: ipaddress.IPv4Network) -> bool:
    """Return True if the Service has no address, or an unreachable one without need."""
    address = service.spec.cluster_ip
    if not address:
        return True
    return is_ours(address, LOOPBACK) and ipaddress.IPv4Address(address) not in network


def taken_addresses(services: Iterable[Service]) -> set[str]:
    """Return the addresses that Services have."""
    return {one.spec.cluster_ip for one in services if one.spec.cluster_ip}
