"""Keeps an Ingress, or routes of the Gateway API, equal to what each Route of a cluster asks for.

They belong to the Route, have names that follow from its own, and go with it. The cluster's router
serves them; what it says of them becomes the Route's status.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from upwell.api.codec import decode_as, encode
from upwell.api.core import Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.gateway import Gateway, HttpRoute, IngressClass, TlsRoute
from upwell.api.networking.ingress import Ingress
from upwell.api.route import Route
from upwell.cluster.errors import WriteRefusedError, is_of_admission
from upwell.controller import Controller, ObjectCache, Result, Watch, of_both
from upwell.controller.refusals import Refusals
from upwell.policy.cluster_routing.expression import (
    Document,
    Expressed,
    express,
    includes,
    redirect_name,
    taken_fields,
    wanted_annotations,
)
from upwell.policy.cluster_routing.report import address_of, answer_of, refused, status_of
from upwell.policy.cluster_routing.routers import (
    GatewayRouter,
    IngressRouter,
    NoRouter,
    choose_router,
)
from upwell.policy.routing.hosts import refused_hosts
from upwell.policy.routing.reachability import ADMITTED
from upwell.policy.routing.table import wanted_targets
from upwell.reconcilers.cluster_routing.contenders import HostContenders
from upwell.store.interface import AlreadyExistsError, NotFoundError, RejectedError, StoreError

_REFUSALS = frozenset({"Forbidden", RejectedError.reason})
"""Reasons of errors that are told: rights and webhooks, and what the cluster's validation says."""
_NOT_SERVED = "NotFound"
"""Reason of an error about a kind that the cluster does not serve."""
_TO_SERVE = "Install the definitions of the Gateway API (TLSRoute: 1.5 or later)."
_EVERY = ""
_SERVED: dict[str, type[Ingress] | type[HttpRoute] | type[TlsRoute]] = {
    kind.KIND.kind: kind for kind in (Ingress, HttpRoute, TlsRoute)
}


class _FieldTakenError(Exception):
    """Field of what serves a Route that somebody else has set; the message says who."""

    def __init__(self, key: ObjectKey, taken: Sequence[str]) -> None:
        super().__init__(
            f"{key} has {'; '.join(taken)}: it stays, delete the {key.kind} to undo it"
        )


class ClusterRoutes:
    """Reconciles one Route with what serves it."""

    def __init__(
        self,
        cache: ObjectCache,
        clock: Callable[[], datetime],
        follows: Callable[[str], bool] = lambda _: True,
        gateway: str = "",
    ) -> None:
        """`follows` tells which namespaces are kept current; `gateway` is the Gateway to use."""
        self._cache = cache
        self._store = cache.store
        self._clock = clock
        self._follows = follows
        self._gateway = gateway
        self._contenders = HostContenders(cache)
        self._refusals = Refusals()
        self._routes = cache.index(Route, _indexed)
        self._classes = cache.index(IngressClass, lambda _: (_EVERY,))
        self._gateways = cache.index(Gateway, lambda _: (_EVERY,))

    def every(self, _: Resource) -> Iterator[ObjectKey]:
        """Yield all Routes: the cluster's routers have changed."""
        yield from (one.key for one in self._routes.get(_EVERY))

    def leading_to(self, service: Resource) -> Iterator[ObjectKey]:
        """Yield the Routes that lead to a Service."""
        yield from (one.key for one in self._routes.get(service.key))

    def contending(self, route: Route) -> Iterator[ObjectKey]:
        """Yield the Routes that may want the same host, and the Route itself."""
        yield from (one.key for one in self._contenders.of(route))

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make, change or remove what serves the Route that `key` names, and say how it stands."""
        route = self._cache.get(Route, key.namespace, key.name)
        if route is None or route.is_deleting or not self._follows(key.namespace):
            self._refusals.forget(key)
            return Result()  # what it owns goes with it
        if any(one.kind == Ingress.KIND.kind for one in route.metadata.owner_references):
            return Result()  # an Ingress made it, and is served itself
        router = choose_router(
            [*self._classes.get(_EVERY)], [*self._gateways.get(_EVERY)], self._gateway
        )
        if isinstance(router, NoRouter):
            return await self._refuse(route, "NoRouter", router.message)
        if lost := refused_hosts(self._contenders.of(route)).get(route.key):
            return await self._refuse(route, lost.reason, lost.message)
        expressed = express(route, router, self._service_of(route))
        if expressed.bars:
            reason, message = "NotExpressible", "; ".join(expressed.bars)
            return await self._refuse(route, reason, message, expressed.left_out)
        return await self._serve(route, router, expressed)

    async def _serve(
        self, route: Route, router: IngressRouter | GatewayRouter, expressed: Expressed
    ) -> Result:
        wanted = {(one["kind"], one["metadata"]["name"]) for one in expressed.documents}
        try:
            await self._remove(route, wanted)
            served = [await self._ensure(route, one) for one in expressed.documents]
        except _FieldTakenError as error:
            await self._report(route, refused("FieldConflict", str(error)), expressed.left_out)
            return Result()  # a change of it is seen
        except AlreadyExistsError as error:
            message = f"{error.key} is there, and does not belong to it: delete or rename it"
            await self._report(route, refused("NameTaken", message), expressed.left_out)
            return Result(self._refusals.note(route.key))
        except StoreError as error:
            if error.reason in _REFUSALS:
                told = refused(error.reason, str(error))
            elif is_of_admission(error):
                told = refused(WriteRefusedError.reason, str(error))
            elif error.reason == _NOT_SERVED and not isinstance(error, NotFoundError):
                told = refused("NotExpressible", f"{error} {_TO_SERVE}")
            else:
                raise
            await self._report(route, told, expressed.left_out)
            return Result(self._refusals.note(route.key))
        self._refusals.forget(route.key)
        address = address_of(router.gateway) if isinstance(router, GatewayRouter) else ""
        admitted = Condition(type=ADMITTED, status="True", reason="Admitted", message="")
        for one in served:
            if isinstance(one, Ingress):
                address = address_of(one)
            elif isinstance(one, HttpRoute | TlsRoute) and admitted.is_true:
                admitted = answer_of(one)
        await self._report(route, admitted, expressed.left_out, address)
        return Result()

    async def _refuse(
        self, route: Route, reason: str, message: str, left_out: Sequence[str] = ()
    ) -> Result:
        await self._remove(route, set())
        await self._report(route, refused(reason, message), left_out)
        return Result()

    def _service_of(self, route: Route) -> Callable[[str], Service | None]:
        return lambda name: self._cache.get(Service, route.namespace, name)

    async def _ensure(self, route: Route, document: Document) -> Resource:
        """Return what serves a Route as it is now.

        Raises AlreadyExistsError for another's, _FieldTakenError for one that a person has changed.
        """
        kind = _SERVED[document["kind"]]
        wanted: Resource = decode_as(kind, document)
        there = self._cache.get(kind, route.namespace, wanted.name)
        if there is None:
            made = await self._store.create(wanted)
            await self._cache.wait_for(made)
            return made
        if not _is_of(there, route):
            raise AlreadyExistsError(there.key)
        spec = encode(there).get("spec") or {}
        if taken := taken_fields(there, spec, document):
            raise _FieldTakenError(there.key, taken)
        labels = {**there.labels, **wanted.labels}
        annotations = wanted_annotations(there, document)
        is_noted = labels == there.labels and annotations == there.annotations
        if is_noted and includes(spec, document["spec"]):
            return there
        noted = there.with_metadata(labels=labels, annotations=annotations)
        changed = noted.model_copy(update={"spec": wanted.spec})  # type: ignore[attr-defined]
        written = await self._store.update(changed)
        await self._cache.wait_for(written)
        return written

    async def _remove(self, route: Route, wanted: set[tuple[str, str]]) -> None:
        """Remove what served a Route and shall not any more."""
        for kind in _SERVED.values():
            for name in (route.name, redirect_name(route)):
                there = self._cache.get(kind, route.namespace, name)
                if there is None or (kind.KIND.kind, name) in wanted or not _is_of(there, route):
                    continue
                try:
                    await self._store.delete(kind, route.namespace, name)
                except NotFoundError:
                    continue

    async def _report(
        self, route: Route, admitted: Condition, left_out: Sequence[str], address: str = ""
    ) -> None:
        status = status_of(route, admitted, left_out, address, self._clock())
        if status != route.status:
            await self._cache.wait_for(await self._store.update_status(route.with_status(status)))


def cluster_route_controller(
    cache: ObjectCache,
    clock: Callable[[], datetime],
    follows: Callable[[str], bool],
    gateway: str = "",
) -> Controller:
    """Return the controller of a cluster's Routes."""
    routes = ClusterRoutes(cache, clock, follows, gateway)
    watches = (
        Watch(Route, of_both(routes.contending)),
        Watch(Service, of_both(routes.leading_to)),
        Watch(IngressClass, of_both(routes.every)),
        Watch(Gateway, of_both(routes.every)),
        Watch(Ingress, of_both(_owners)),
        Watch(HttpRoute, of_both(_owners)),
        Watch(TlsRoute, of_both(_owners)),
    )
    return Controller("cluster-routes", routes, cache, watches)


def _indexed(route: Route) -> Iterator[ObjectKey | str]:
    yield _EVERY
    for target in wanted_targets(route):
        yield ObjectKey(Service.KIND.kind, route.namespace, target.name)


def _is_of(served: Resource, route: Route) -> bool:
    return any(one.uid == route.uid for one in served.metadata.owner_references)


def _owners(served: Resource) -> Iterable[ObjectKey]:
    for owner in served.metadata.owner_references:
        if owner.kind == Route.KIND.kind:
            yield ObjectKey(owner.kind, served.namespace, owner.name)
