"""Keeps the router's table equal to the Services, the Routes and the instances that are ready."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network

from upwell.api.conditions import find, set_condition
from upwell.api.core import Service
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pod import Pod
from upwell.api.route import Route, RouteIngress, RouteStatus
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.machine.backoff import Backoff
from upwell.policy.rollouts.settings import WORKLOADS, Workload, template_of
from upwell.policy.rollouts.starts.published_ports import published_ports
from upwell.policy.routing.addresses import LOOPBACK, allocate, needs_address, taken_addresses
from upwell.policy.routing.claims import (
    Place,
    held_by,
    held_places,
    node_ports,
    with_node_ports,
)
from upwell.policy.routing.endpoints import MissingEndpoints
from upwell.policy.routing.hosts import ROUTER_NAME
from upwell.policy.routing.reachability import ENDPOINTS, HOST_PORTS
from upwell.policy.routing.report import RoutingOutcome
from upwell.policy.routing.table import (
    Admission,
    Routing,
    RoutingState,
    compute,
    host_ports,
    tcp_ports,
    wanted_targets,
)
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.reconcilers.rollouts.wiring import changed_owners
from upwell.reconcilers.routing.supervision import RETRIES
from upwell.router.interface import RouterDownError, RouterUnavailableError
from upwell.store.interface import ConflictError, NotFoundError, Store

HOST_SUFFIX = "localhost"
"""Resolves to the loopback address everywhere (RFC 6761, section 6.3)."""
_RETRIES = Backoff(first=1, longest=60)
"""Backoff of a listener whose port was in use: no event announces that it is free."""


class RoutingReconciler:
    """Has one key, since a table is one thing; every call computes and applies all of it."""

    def __init__(
        self,
        store: Store,
        machine: RolloutPorts,
        clock: Callable[[], datetime],
        reserved: Collection[Place] = (),
    ) -> None:
        self._store = store
        self._reserved = reserved
        """Places of the server itself."""
        self._held: Mapping[Place, ObjectKey] | None = None
        """Owners of places; None until the first table."""
        self._machine = machine
        self._clock = clock
        self._known_network: IPv4Network | None = None
        self._missing = MissingEndpoints()
        """Kept in memory alone: after a restart the grace time begins anew."""
        self._failed = 0
        """Tables in a row that could not be served in full."""

    async def reconcile(self, key: ObjectKey) -> Result:  # noqa: ARG002 - there is only one
        """Apply the table, tell rollouts what is in force, and report on what is not served."""
        # Read before the instances: a name that is added meanwhile must not count as quiet.
        draining = self._machine.traffic.draining()
        state = await self._read(draining)
        routing = compute(state)
        self._held = routing.held
        self._missing = self._missing.next(routing.empty, self._clock())
        try:
            failures = await self._machine.router.apply(routing.table)
        except RouterUnavailableError as error:
            if isinstance(error, RouterDownError):
                # Nobody is sent to what has to go: no rollout need wait for that.
                down = replace(
                    routing.in_force,
                    serving={},
                    quiet=draining,
                    backends={},
                    places=routing.places(),
                )
                self._machine.traffic.publish(down)
            await self._report(state, routing, RoutingOutcome(routing.withheld, error))
            raise
        in_force = replace(routing.in_force, places=routing.places(failures))
        self._machine.traffic.publish(in_force)
        await self._machine.runtime.publish_names(routing.names)
        await self._report(state, routing, RoutingOutcome({**routing.withheld, **failures}))
        self._failed = self._failed + 1 if failures else 0
        waits = [_RETRIES.delay(self._failed)] if failures else []
        now = self._clock()
        times = (routing.until, self._missing.until(now))
        waits += [max((time - now).total_seconds(), 0) for time in times if time is not None]
        return Result(min(waits, default=None))

    async def _report(self, state: RoutingState, routing: Routing, outcome: RoutingOutcome) -> None:
        for service in state.services:
            await self._report_service(service, outcome)
        for route in state.routes:
            await self._report_route(route, routing.admissions[route.key], outcome)
        for workload in state.workloads.values():
            await self._report_workload(workload, outcome)

    async def _read(self, draining: frozenset[str]) -> RoutingState:
        services = await self._services()
        routes = [
            await self._with_host(route)
            for route in (await self._store.list(Route)).items
            if not route.is_deleting
        ]
        workloads: dict[ObjectKey, Workload] = {}
        for kind in WORKLOADS:
            workloads.update({one.key: one for one in (await self._store.list(kind)).items})
        pods = [one for one in (await self._store.list(Pod)).items if not one.is_deleting]
        instances = await self._machine.runtime.instances()
        return RoutingState(
            services,
            routes,
            workloads,
            instances,
            self._clock(),
            draining,
            network=await self._network(),
            held=held_by(services, workloads.values()) if self._held is None else self._held,
            reserved=self._reserved,
            pods={one.key: one for one in pods},
        )

    async def _services(self) -> list[Service]:
        """Return the Services, with the addresses and ports that they need: written, then used."""
        network = await self._network()
        found = [one for one in (await self._store.list(Service)).items if not one.is_deleting]
        taken = taken_addresses(found)
        numbers = {number for service in found for number in node_ports(service)}
        services: list[Service] = []
        for service in found:
            addressed = with_node_ports(service, numbers)
            numbers.update(node_ports(addressed))
            if needs_address(service, network) and tcp_ports(service):
                address = allocate(service, taken, network)
                taken.add(address)
                spec = addressed.spec.model_copy(update={"cluster_ip": address})
                addressed = addressed.model_copy(update={"spec": spec})
            if addressed is not service:
                addressed = await self._store.update(addressed)
            services.append(addressed)
        return services

    async def _network(self) -> IPv4Network:
        """Return the network of the Services' addresses; the runtime is asked for it once."""
        if self._known_network is None:
            self._known_network = await self._machine.services() or LOOPBACK
        return self._known_network

    async def _with_host(self, route: Route) -> Route:
        if route.spec.host:
            return route
        host = f"{route.name}.{route.namespace}.{HOST_SUFFIX}"
        spec = route.spec.model_copy(update={"host": host})
        return await self._store.update(route.model_copy(update={"spec": spec}))

    async def _report_service(self, service: Service, outcome: RoutingOutcome) -> None:
        now, conditions = self._clock(), service.status.conditions
        before = find(conditions, ENDPOINTS)
        endpoints = self._missing.condition([service.key], before, now)
        for condition in (outcome.of_service(service), endpoints):
            if condition is not None:
                conditions = set_condition(conditions, condition, now)
        places = held_places(service.key, self._held or {})
        status = service.status.model_copy(update={"conditions": conditions, "places": places})
        if status != service.status:
            await self._store.update_status(service.with_status(status))

    async def _report_workload(self, workload: Workload, outcome: RoutingOutcome) -> None:
        condition, conditions = outcome.of_workload(workload), workload.status.conditions
        known = find(conditions, HOST_PORTS)
        if condition is not None and not (condition.is_true and known is None):
            conditions = set_condition(conditions, condition, self._clock())
        places = held_places(workload.key, self._held or {})
        status = workload.status.model_copy(update={"conditions": conditions, "places": places})
        if status != workload.status:
            # Whoever was faster has changed the workload: that alone leads here again.
            with contextlib.suppress(ConflictError, NotFoundError):
                await self._store.update_status(workload.with_status(status))

    async def _report_route(
        self, route: Route, admission: Admission, outcome: RoutingOutcome
    ) -> None:
        ours = next(
            (one for one in route.status.ingress if one.router_name == ROUTER_NAME),
            RouteIngress(router_name=ROUTER_NAME),
        )
        admitted = outcome.of_route(route, admission)
        now = self._clock()
        conditions = set_condition(ours.conditions, admitted, now)
        targets = [
            ObjectKey(Service.KIND.kind, route.namespace, target.name)
            for target in wanted_targets(route)
        ]
        before = find(conditions, ENDPOINTS)
        endpoints = self._missing.condition(targets, before, now)
        if endpoints is not None:
            conditions = set_condition(conditions, endpoints, now)
        reached = {"router_canonical_hostname": self._machine.router.http_address}
        ingress = ours.model_copy(
            update={"host": route.spec.host, "conditions": conditions, **reached}
        )
        others = tuple(one for one in route.status.ingress if one.router_name != ROUTER_NAME)
        status = RouteStatus(ingress=(*others, ingress))
        if status.ingress != route.status.ingress:
            await self._store.update_status(route.with_status(status))


def routing_controller(
    cache: ObjectCache,
    machine: RolloutPorts,
    clock: Callable[[], datetime],
    reserved: Collection[Place] = (),
) -> Controller:
    """Return the controller of the router; `reserved` are the addresses of the server itself."""

    def router(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        return (ROUTER_KEY,)

    def routed(before: Workload | None, after: Workload | None) -> Iterable[ObjectKey]:
        if before is None or after is None or _is_routed_anew(before, after):
            return (ROUTER_KEY,)
        return ()

    return Controller(
        "routing",
        RoutingReconciler(cache.store, machine, clock, reserved),
        cache,
        (
            Watch(Service, router),
            Watch(Route, router),
            Watch(Pod, router),
            *(Watch(kind, routed) for kind in WORKLOADS),
        ),
        feeds=(
            partial(_whenever_instances_change, machine),
            machine.traffic.for_routing.keys,
        ),
        workers=1,
        backoff=RETRIES,
    )


def _is_routed_anew(before: Workload, after: Workload) -> bool:
    """Return True if a change may be one of the table: most are of a workload's status alone."""
    return (
        before.generation != after.generation
        or [(one.hash, one.phase) for one in before.status.revisions]
        != [(one.hash, one.phase) for one in after.status.revisions]
        # Their conditions are written with the table.
        or bool(host_ports(after))
        or bool(published_ports(template_of(after).spec))
    )


async def _whenever_instances_change(machine: RolloutPorts) -> AsyncIterator[ObjectKey]:
    yield ROUTER_KEY  # once at the start, even when there is no object to watch
    async for _ in changed_owners(machine.runtime):
        yield ROUTER_KEY
