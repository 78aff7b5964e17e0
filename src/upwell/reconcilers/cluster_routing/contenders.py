"""Routes that may want the same host, out of the cache: a call costs as much as what it returns."""

from collections.abc import Iterator

from upwell.api.route import Route
from upwell.controller import ObjectCache
from upwell.policy.routing.hosts import domains_above, effective_host

_WILDCARD = "*."

type _Key = tuple[str, str]


class HostContenders:
    """Index of Routes by their hosts, and by the domains that these lie in."""

    def __init__(self, cache: ObjectCache) -> None:
        self._index = cache.index(Route, _keys)

    def of(self, route: Route) -> list[Route]:
        """Return all Routes that decide whether one gets its host, that one among them."""
        found = {route.key: route}
        waiting = [route]
        while waiting:
            for key in _wanted(waiting.pop()):
                for one in self._index.get(key):
                    if one.key not in found:
                        found[one.key] = one
                        waiting.append(one)
        return list(found.values())


def _keys(route: Route) -> Iterator[_Key]:
    host = effective_host(route)
    yield "host", host
    if host.startswith(_WILDCARD):
        yield "wildcard", host.removeprefix(_WILDCARD)
    yield from (("below", domain) for domain in domains_above(host))


def _wanted(route: Route) -> Iterator[_Key]:
    """Yield the keys of those that a Route may contend with."""
    host = effective_host(route)
    yield "host", host
    yield from (("wildcard", domain) for domain in domains_above(host))
    if host.startswith(_WILDCARD):
        yield "below", host.removeprefix(_WILDCARD)
