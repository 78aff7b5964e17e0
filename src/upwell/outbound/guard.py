"""The guard of all requests to addresses that users name."""

import socket

from aiohttp.connector import AddrInfoType

from upwell.api.values.addresses import is_metadata_address


class ForbiddenAddressError(OSError):
    """The name leads to an address to which nothing is sent."""


def guarded_socket(address: AddrInfoType) -> socket.socket:
    """Return a socket for an address, whatever name led to it; never to a metadata service.

    For a connector's `socket_factory`; raises ForbiddenAddressError.
    """
    family, kind, protocol, _, place = address
    if is_metadata_address(str(place[0])):
        raise ForbiddenAddressError(f"{place[0]} is link-local: requests to it are refused")
    return socket.socket(family, kind, protocol)
