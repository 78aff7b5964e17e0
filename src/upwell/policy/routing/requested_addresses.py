"""Addresses and hosts that a client asks for: which nobody may have; pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from upwell.api.core import Service
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.api.values.faults import Fault
from upwell.policy.routing.addresses import LOOPBACK
from upwell.policy.routing.hosts import wildcard_fault
from upwell.policy.routing.port_protocols import HEADLESS

_GIVEN = "addresses are given out by the server: leave it out, or set None"


def requested_faults(resource: Resource, old: Resource | None) -> Iterator[Fault]:
    """Yield what an object may not ask for; what it has already (`old`) is not held against it."""
    if isinstance(resource, Service):
        known = old.spec.cluster_ip if isinstance(old, Service) else None
        address = resource.spec.cluster_ip
        if address and address not in {HEADLESS, known}:
            yield from _address_faults(address, is_new=old is None)
    if isinstance(resource, Route):
        unchanged = isinstance(old, Route) and wildcard_fault(old)
        if (fault := wildcard_fault(resource)) and fault != unchanged:
            yield Fault("spec.host", fault)


def _address_faults(address: str, *, is_new: bool) -> Iterator[Fault]:
    path = "spec.clusterIP"
    try:
        found = IPv4Address(address)
    except ValueError:
        yield Fault(path, f"{address!r} is not an IPv4 address; {_GIVEN}")
        return
    if not _may_be_a_services(found):
        yield Fault(path, f"{address} is not an address of Services; {_GIVEN}")
    elif not is_new:
        # Who is older has an address first: a change must not take it from who has it now.
        yield Fault(path, f"cannot be changed to {address}: leave it out, and one is given")


def _may_be_a_services(address: IPv4Address) -> bool:
    """Return True if it may be in the network of Services, which the runtime alone knows."""
    if address.is_loopback:
        return address in LOOPBACK
    is_special = address.is_link_local or address.is_unspecified or address.is_reserved
    return address.is_private and not is_special
