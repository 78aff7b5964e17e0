"""Keeps the Routes of each Ingress equal to what it asks for."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime

from upwell.api.conditions import find, set_condition
from upwell.api.core import Secret, Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.ingress import (
    Ingress,
    IngressLoadBalancerStatus,
    IngressStatus,
    LoadBalancerIngress,
)
from upwell.api.route import Route
from upwell.controller import Controller, ObjectCache, Result, Watch, of_both
from upwell.policy.routing.ingresses import (
    WantedRoutes,
    backend_services,
    certificate_secrets,
    routes_of,
)
from upwell.policy.routing.reachability import ADMITTED, SERVED
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, MISSING_RIGHT, Authority
from upwell.store.interface import AlreadyExistsError, NotFoundError, StoreError

_FULL = "Forbidden"
"""Reason of the error of a store that takes no more objects of a namespace."""
_FULL_SECONDS = 60.0

type CreateRoute = Callable[[Route], Awaitable[Route]]


class IngressReconciler:
    """Writes Routes that belong to an Ingress, and its status."""

    def __init__(
        self,
        cache: ObjectCache,
        clock: Callable[[], datetime],
        authority: Authority,
        create: CreateRoute | None = None,
    ) -> None:
        """`create` stores a Route within the quotas of its namespace."""
        self._cache = cache
        self._create = create or cache.store.create
        self._store = cache.store
        self._clock = clock
        self._authority = authority
        self._owned = cache.index(Route, _owners)
        self._of = cache.index(Ingress, _needed)

    def of_needed(self, resource: Resource) -> Iterator[ObjectKey]:
        """Yield the keys of the Ingresses that a Service or a Secret is needed for."""
        yield from (ingress.key for ingress in self._of.get(resource.key))

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make, change and remove Routes of the Ingress that `key` names."""
        try:
            ingress = await self._store.get(Ingress, key.namespace, key.name)
        except NotFoundError:
            return Result()
        if ingress.is_deleting:
            return Result()
        await self._cache.ready(Route)
        refusal = await self._authority.refusal(ingress)
        if refusal:
            # What is served goes on: its author had the right when it began.
            await self._report(ingress, [(MISSING_RIGHT, refusal)], self._owned.get(ingress.uid))
            return Result(requeue_after=ASK_AGAIN_SECONDS)
        wanted = await self._wanted(ingress)
        problems = [("NotServed", problem) for problem in wanted.problems]
        routes = []
        for route in wanted.routes:
            try:
                routes.append(await self._ensure(route))
            except AlreadyExistsError:
                taken = f"{route.key} is there, and does not belong to it: delete or rename it"
                problems.append(("NameTaken", taken))
            except StoreError as error:
                if error.reason != _FULL:
                    raise
                problems.append(("QuotaExceeded", str(error)))
                break
        names = {route.name for route in wanted.routes}
        for route in self._owned.get(ingress.uid):
            if route.name not in names:
                await self._remove(route)
        await self._report(ingress, problems, routes)
        is_full = any(reason == "QuotaExceeded" for reason, _ in problems)
        return Result(requeue_after=_FULL_SECONDS if is_full else None)

    async def _wanted(self, ingress: Ingress) -> WantedRoutes:
        services: dict[str, Service] = {}
        for name in dict.fromkeys(backend_services(ingress)):
            try:
                services[name] = await self._store.get(Service, ingress.namespace, name)
            except NotFoundError:
                continue
        secrets: dict[str, Secret] = {}
        for name in dict.fromkeys(certificate_secrets(ingress)):
            try:
                secrets[name] = await self._store.get(Secret, ingress.namespace, name)
            except NotFoundError:
                continue
        return routes_of(ingress, services.get, secrets.get)

    async def _ensure(self, wanted: Route) -> Route:
        """Return the Route as it is now; raises AlreadyExistsError for one of somebody else."""
        owner = wanted.metadata.owner_references[0].uid
        try:
            there = await self._store.get(Route, wanted.namespace, wanted.name)
        except NotFoundError:
            made = await self._create(wanted)
            await self._cache.wait_for(made)
            return made
        if owner not in set(_owners(there)):
            raise AlreadyExistsError(there.key)
        changed = there.with_metadata(
            labels=wanted.labels, annotations=wanted.annotations
        ).model_copy(update={"spec": wanted.spec})
        return there if changed == there else await self._store.update(changed)

    async def _remove(self, route: Route) -> None:
        try:
            await self._store.delete(Route, route.namespace, route.name)
        except NotFoundError:
            return

    async def _report(
        self, ingress: Ingress, problems: Iterable[tuple[str, str]], routes: Iterable[Route]
    ) -> None:
        routes, problems = list(routes), list(problems)
        hosts = dict.fromkeys(route.spec.host for route in routes if _is_admitted(route))
        names = ", ".join(route.name for route in routes)
        served = Condition(
            type=SERVED,
            status="False" if problems else "True",
            reason=problems[0][0] if problems else "RoutesMade",
            message="; ".join(why for _, why in problems) if problems else f"routes: {names}",
            observed_generation=ingress.generation,
        )
        status = IngressStatus(
            load_balancer=IngressLoadBalancerStatus(
                ingress=tuple(LoadBalancerIngress(hostname=host) for host in hosts)
            ),
            conditions=set_condition(ingress.status.conditions, served, self._clock()),
        )
        if status != ingress.status:
            await self._store.update_status(ingress.with_status(status))


def ingress_controller(
    cache: ObjectCache,
    clock: Callable[[], datetime],
    authority: Authority,
    create: CreateRoute | None = None,
) -> Controller:
    """Return the controller of Ingresses; `create` stores a Route within quotas."""
    ingresses = IngressReconciler(cache, clock, authority, create)
    watches = (
        Watch(Ingress),
        Watch(Route, of_both(_ingresses)),
        Watch(Service, of_both(ingresses.of_needed)),
        Watch(Secret, of_both(ingresses.of_needed)),
    )
    return Controller("ingresses", ingresses, cache, watches)


def _needed(ingress: Ingress) -> Iterator[ObjectKey]:
    for name in set(backend_services(ingress)):
        yield ObjectKey(Service.KIND.kind, ingress.namespace, name)
    for name in set(certificate_secrets(ingress)):
        yield ObjectKey(Secret.KIND.kind, ingress.namespace, name)


def _owners(route: Route) -> Iterator[str]:
    yield from (owner.uid for owner in route.metadata.owner_references)


def _ingresses(route: Route) -> Iterator[ObjectKey]:
    for owner in route.metadata.owner_references:
        if owner.kind == Ingress.KIND.kind:
            yield ObjectKey(owner.kind, route.namespace, owner.name)


def _is_admitted(route: Route) -> bool:
    admitted = (find(entry.conditions, ADMITTED) for entry in route.status.ingress)
    return any(one is not None and one.is_true for one in admitted)
