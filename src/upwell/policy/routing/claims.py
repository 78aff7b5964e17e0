"""Owners of addresses and ports: each is given out once, to one object, and taken from nobody."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.meta import ObjectKey, Resource
from upwell.api.values.addresses import NODE_PORTS
from upwell.policy.rollouts.settings import Workload
from upwell.policy.routing.addresses import LOOPBACK
from upwell.policy.routing.port_protocols import HEADLESS, SERVED
from upwell.policy.routing.reachability import READY

type Place = tuple[str, int]
"""Address, and port of one protocol."""

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what hostPort and nodePort mean
_MOST_ADDRESSES = 16 * 1024
"""Addresses that are kept as they were parsed."""
NODE_PORT_TYPES = frozenset({"NodePort", "LoadBalancer"})


@dataclass(frozen=True, slots=True)
class Claim:
    """A listener that an object wants."""

    listener: str
    """Name of the listener."""
    place: Place
    owner: ObjectKey
    created: str
    """RFC 3339; who is older comes first."""


def withheld(
    claims: Iterable[Claim],
    held: Mapping[Place, ObjectKey],
    reserved: Collection[Place],
    network: IPv4Network,
) -> tuple[Mapping[str, str], Mapping[Place, ObjectKey]]:
    """Return listeners that are not to be, each with the reason, and who has which place now.

    Who had a place (`held`) keeps it, so that a change of an older object takes nothing away; else
    the oldest has it. Who has a port at all addresses has it at each of the machine's, unless
    another had it there. `reserved` are the server's own, `network` is that of Services' addresses.
    """
    faults: dict[str, str] = {}
    holders: dict[Place, ObjectKey] = {}
    of_machine: dict[int, list[Place]] = {}
    """Port -> the machine's own addresses at which somebody has it."""
    for claim in sorted(claims, key=lambda one: _precedence(one, held)):
        holder = holders.get(claim.place)
        if holder is None and held.get(claim.place) != claim.owner:
            beside = of_machine.get(claim.place[1], ())
            others = (holders[one] for one in beside if _covers(one, claim.place, network))
            holder = next((one for one in others if one != claim.owner), None)
        if holder is not None and holder != claim.owner:
            faults[claim.listener] = f"{_text(claim.place)} belongs to {holder}; choose another"
        elif any(_overlap(claim.place, own, network) for own in reserved):
            faults[claim.listener] = (
                f"{_text(claim.place)} belongs to this server; choose another port"
            )
        else:
            if claim.place not in holders and not is_inside(claim.place[0], network):
                of_machine.setdefault(claim.place[1], []).append(claim.place)
            holders[claim.place] = claim.owner
    return faults, holders


def created_text(resource: Resource) -> str:
    """Return when an object was made, as claims have it; empty: not stored yet."""
    created = resource.metadata.creation_timestamp
    return created.isoformat() if created else ""


def _precedence(claim: Claim, held: Mapping[Place, ObjectKey]) -> tuple[bool, str, ObjectKey]:
    return held.get(claim.place) != claim.owner, claim.created, claim.owner


def address_fault(service: Service, network: IPv4Network) -> str:
    """Return why nobody listens at a Service's address; empty if it is one of ours, or none."""
    address = service.spec.cluster_ip
    if not address or address == HEADLESS or is_inside(address, network):
        return ""
    return (
        f"clusterIP {address} is outside {network}, from which Services get their addresses:"
        " remove spec.clusterIP, and one is given"
    )


def is_inside(address: str, network: IPv4Network) -> bool:
    """Return True if the router may listen at an address that a Service has."""
    found = _parsed(address)
    return found is not None and (found in network or found in LOOPBACK)


@lru_cache(_MOST_ADDRESSES)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address, which each table asks for again; None if the text is none."""
    try:
        return ip_address(address)
    except ValueError:
        return None


def held_by(services: Sequence[Service], workloads: Iterable[Workload]) -> dict[Place, ObjectKey]:
    """Return who had which place before this process: as their statuses say.

    Services of an earlier version, which wrote none there, have their node ports if they were
    served as they are.
    """
    found: dict[Place, ObjectKey] = {}
    for resource in (*services, *workloads):
        found |= {_place(text): resource.key for text in resource.status.places}
    for service in services:
        if service.status.places:
            continue
        ready = find(service.status.conditions, READY)
        if ready is None or not ready.is_true or ready.observed_generation != service.generation:
            continue
        for number in node_ports(service):
            found.setdefault((EVERY_ADDRESS, number), service.key)
    return found


def held_places(owner: ObjectKey, held: Mapping[Place, ObjectKey]) -> tuple[str, ...]:
    """Return the places of one owner, as its status has them."""
    return tuple(sorted(_text(place) for place, holder in held.items() if holder == owner))


def node_ports(service: Service) -> Iterator[int]:
    """Yield the node ports that a Service is to be served at."""
    if service.spec.type in NODE_PORT_TYPES:
        for port in service.spec.ports:
            if port.node_port and port.protocol == SERVED:
                yield port.node_port


def with_node_ports(service: Service, taken: Collection[int]) -> Service:
    """Return the Service with a free node port for each port of type NodePort that has none.

    While none is free, a port stays without.
    """
    if service.spec.type != "NodePort":
        return service
    free = (number for number in NODE_PORTS if number not in taken)
    ports = tuple(
        port.model_copy(update={"node_port": next(free, None)})
        if not port.node_port and port.protocol == SERVED
        else port
        for port in service.spec.ports
    )
    if ports == service.spec.ports:
        return service
    return service.model_copy(update={"spec": service.spec.model_copy(update={"ports": ports})})


def _overlap(one: Place, other: Place, network: IPv4Network) -> bool:
    """Return True if who connects to one place might reach the other."""
    if one[1] != other[1] or is_inside(one[0], network):
        return False
    first, second = _host(one[0]), _host(other[0])
    return first == second or "any" in {first, second}


def _covers(one: Place, other: Place, network: IPv4Network) -> bool:
    """Return True if one of two places of a port is at all addresses, so that it is the other's."""
    return "any" in {_host(one[0]), _host(other[0])} and not is_inside(other[0], network)


def _host(address: str) -> str:
    """Return an address, with one word for all wildcards, and one for all of loopback."""
    if address == "localhost":
        return "loopback"
    found = _parsed(address.strip("[]"))
    if found is None:
        return address
    if found.is_unspecified:
        return "any"
    return "loopback" if found.is_loopback else str(found)


def _place(text: str) -> Place:
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


def _text(place: Place) -> str:
    return f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
