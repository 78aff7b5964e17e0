"""Owners of hosts: the namespace that had one first has it, with all that a wildcard covers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from publicsuffixlist import PublicSuffixList

from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.route import Route
from upwell.policy.routing.reachability import ADMITTED

ROUTER_NAME = "upwell"
CLAIMED = "HostAlreadyClaimed"
_WILDCARD = "*."
_SUBDOMAIN = "Subdomain"


@dataclass(frozen=True, slots=True)
class HostRefusal:
    """Reason, for a condition, why a Route does not get its host."""

    reason: str
    message: str


def effective_host(route: Route) -> str:
    """Return the host that a Route is served for, in lower case: `*.DOMAIN` for a whole domain."""
    host = route.spec.host.lower()
    if route.spec.wildcard_policy == _SUBDOMAIN and not host.startswith(_WILDCARD):
        _, _, domain = host.partition(".")
        return f"{_WILDCARD}{domain}"
    return host


def wildcard_fault(route: Route) -> str:
    """Return why nobody may have the domain of a Route's wildcard; empty if somebody may."""
    host = effective_host(route)
    domain = host.removeprefix(_WILDCARD)
    if domain == host or (domain and not _suffixes().is_public(domain)):
        return ""
    return (
        f"host {host!r} covers the domains of many owners ({domain or 'everything'} is a public"
        " suffix): name a domain below it"
    )


def refused_hosts(routes: Iterable[Route]) -> Mapping[ObjectKey, HostRefusal]:
    """Return the Routes that do not get their host.

    Who was served for a host keeps it, so that an older Route which is changed takes nothing away;
    else the oldest has it. A host belongs to one namespace, and there each path to one Route.
    """
    refused: dict[ObjectKey, HostRefusal] = {}
    namespaces: dict[str, Route] = {}
    places: dict[tuple[str, str], Route] = {}
    domains: dict[str, dict[str, Route]] = {}
    """Domain -> namespace -> its oldest Route below it."""
    for route in sorted(routes, key=_precedence):
        host = effective_host(route)
        if fault := wildcard_fault(route):
            refused[route.key] = HostRefusal("HostNotAllowed", fault)
            continue
        place = (host, route.spec.path.rstrip("/"))
        holder = places.get(place) or _foreign_holder(route, host, namespaces, domains)
        if holder is not None:
            refused[route.key] = HostRefusal(
                CLAIMED,
                f"host {host} is held by the older {holder.key};"
                " choose another host or delete that Route",
            )
            continue
        places[place] = route
        namespaces.setdefault(host, route)
        for domain in domains_above(host):
            domains.setdefault(domain, {}).setdefault(route.namespace, route)
    return refused


def _foreign_holder(
    route: Route,
    host: str,
    namespaces: Mapping[str, Route],
    domains: Mapping[str, Mapping[str, Route]],
) -> Route | None:
    """Return a Route of another namespace that has the host, a domain of it, or a part of it."""
    known = [namespaces.get(host)]
    known += [namespaces.get(f"{_WILDCARD}{domain}") for domain in domains_above(host)]
    if host.startswith(_WILDCARD):
        known += domains.get(host.removeprefix(_WILDCARD), {}).values()
    return next((one for one in known if one and one.namespace != route.namespace), None)


def domains_above(host: str) -> Iterator[str]:
    """Yield the domains that a host lies in: b.c and c of a.b.c and of *.b.c."""
    _, _, domain = host.partition(".")
    while domain:
        yield domain
        _, _, domain = domain.partition(".")


def _precedence(route: Route) -> tuple[bool, str, ObjectKey]:
    created = route.metadata.creation_timestamp
    return not _was_served(route), created.isoformat() if created else "", route.key


def _was_served(route: Route) -> bool:
    """Return True if the router gave the Route the host that it wants: its status says so."""
    for ingress in route.status.ingress:
        admitted = find(ingress.conditions, ADMITTED)
        if ingress.router_name == ROUTER_NAME and admitted is not None:
            return ingress.host == route.spec.host and admitted.reason != CLAIMED
    return False


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
