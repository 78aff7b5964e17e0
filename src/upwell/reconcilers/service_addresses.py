"""Gives Services addresses of their own on the loopback network."""

import hashlib
import ipaddress
from collections.abc import Collection, Iterable

from upwell.api.core import Service

_NETWORK = ipaddress.IPv4Network("127.77.0.0/16")
_HOSTS = 254
"""Last octets in use, 1 to 254: 0 and 255 look like a network and a broadcast address."""


class AddressesExhaustedError(Exception):
    """Every address of the network is taken."""


def allocate(service: Service, taken: Collection[str]) -> str:
    """Return a free address, the same for the same name as long as that is free."""
    count = _NETWORK.num_addresses // 256 * _HOSTS
    name = f"{service.namespace}/{service.name}".encode()
    first = int.from_bytes(hashlib.sha256(name).digest()[:8]) % count
    for step in range(count):
        high, low = divmod((first + step) % count, _HOSTS)
        address = str(_NETWORK.network_address + high * 256 + low + 1)
        if address not in taken:
            return address
    raise AddressesExhaustedError(f"no address of {_NETWORK} is free for {service.key}")


def taken_addresses(services: Iterable[Service]) -> set[str]:
    """Return the addresses that Services have."""
    return {one.spec.cluster_ip for one in services if one.spec.cluster_ip}
