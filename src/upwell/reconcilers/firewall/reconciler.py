"""Keeps the firewall equal to the NetworkPolicies, the Services and what runs."""

import asyncio
import contextlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import datetime

from upwell.api.conditions import find, set_condition, without
from upwell.api.core import Namespace, Service
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.api.pod import Pod
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.firewall.interface import Bridge, Firewall, FirewallError
from upwell.machine.backoff import Backoff
from upwell.policy.firewall.table import FirewallDecision, FirewallRules, FirewallState, decide
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.routing.claims import Place, held_by
from upwell.policy.routing.table import RoutingState, compute
from upwell.reconcilers.rollouts.traffic import FIREWALL_KEY, Traffic
from upwell.reconcilers.rollouts.wiring import changed_owners
from upwell.store.interface import ConflictError, NotFoundError, Store
from upwell.workload.interface import Runtime

ACCEPTED = "Accepted"
PARTIAL_FAILURE = "PartialFailure"
"""Of a NetworkPolicy; it is there once a part of it could not be honoured."""
_RETRIES = Backoff(first=0.5, longest=30)


@dataclass(frozen=True, slots=True)
class FirewallPorts:
    """Ports that the filter is decided from and applied through."""

    runtime: Runtime
    firewall: Firewall
    bridge: Callable[[], Awaitable[Bridge]]
    """Returns the network of instances; raises a WorkloadError while it cannot be asked for."""
    traffic: Traffic
    """Says where the router listens."""
    reserved: Collection[Place] = ()
    """Places of the server itself: the router gives them to nobody."""


class FirewallReconciler:
    """Has one key, as a table is one thing; every call computes and applies all of it."""

    def __init__(
        self,
        store: Store,
        ports: FirewallPorts,
        rules: FirewallRules,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._ports = ports
        self._rules = rules
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:  # noqa: ARG002 - there is only one
        """Apply the table, and report on the policies."""
        state = await self._read()
        decision = await asyncio.to_thread(decide, state)
        try:
            await self._ports.firewall.apply(decision.table)
        except FirewallError as error:
            await self._report(state.policies, decision, error)
            raise
        await self._report(state.policies, decision, None)
        return Result()

    async def _read(self) -> FirewallState:
        workloads: dict[ObjectKey, Workload] = {}
        for kind in WORKLOADS:
            workloads.update({one.key: one for one in (await self._store.list(kind)).items})
        pods = (await self._store.list(Pod)).items
        services = (await self._store.list(Service)).items
        policies = (await self._store.list(NetworkPolicy)).items
        namespaces = (await self._store.list(Namespace)).items
        services = [one for one in services if not one.is_deleting]
        bridge = await self._ports.bridge()
        places = self._ports.traffic.places()
        if places is None:
            places = self._first_places(services, workloads, bridge)
        return FirewallState(
            bridge=bridge,
            rules=self._rules,
            services=services,
            places=places,
            policies=[one for one in policies if not one.is_deleting],
            namespaces={one.name: one.labels for one in namespaces},
            workloads=workloads,
            instances=await self._ports.runtime.instances(),
            pods={one.key: one for one in pods},
        )

    def _first_places(
        self, services: Sequence[Service], workloads: Mapping[ObjectKey, Workload], bridge: Bridge
    ) -> Mapping[Place, ObjectKey]:
        """Return where the router is going to listen: what is open stays so in a new process."""
        state = RoutingState(
            services,
            routes=(),
            workloads=workloads,
            instances=(),
            now=self._clock(),
            network=bridge.services,
            held=held_by(services, workloads.values()),
            reserved=self._ports.reserved,
        )
        return compute(state).places()

    async def _report(
        self,
        policies: Iterable[NetworkPolicy],
        decision: FirewallDecision,
        error: FirewallError | None,
    ) -> None:
        for policy in policies:
            conditions = policy.status.conditions
            for condition in _conditions(policy, decision, error):
                conditions = set_condition(conditions, condition, self._clock())
            if policy.key not in decision.faults and find(conditions, PARTIAL_FAILURE):
                conditions = without(conditions, PARTIAL_FAILURE)
            if conditions != policy.status.conditions:
                status = policy.status.model_copy(update={"conditions": conditions})
                # Whoever was faster has changed the policy: that alone leads here again.
                with contextlib.suppress(ConflictError, NotFoundError):
                    await self._store.update_status(policy.with_status(status))


def _conditions(
    policy: NetworkPolicy, decision: FirewallDecision, error: FirewallError | None
) -> Iterable[Condition]:
    yield Condition(
        type=ACCEPTED,
        status="False" if error else "True",
        reason=error.reason if error else "InForce",
        message=f"not in force: {error}" if error else "",
        observed_generation=policy.generation,
    )
    if faults := decision.faults.get(policy.key):
        yield Condition(
            type=PARTIAL_FAILURE,
            status="True",
            reason="NotHonoured",
            message="; ".join(dict.fromkeys(faults)),
            observed_generation=policy.generation,
        )


def firewall_controller(
    cache: ObjectCache,
    ports: FirewallPorts,
    rules: FirewallRules,
    clock: Callable[[], datetime],
) -> Controller:
    """Return the controller of the firewall."""

    def everything(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        return (FIREWALL_KEY,)

    def changed(before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        if before is None or after is None or before.generation != after.generation:
            return (FIREWALL_KEY,)
        return ()

    def relabelled(before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        if before is None or after is None or before.labels != after.labels:
            return (FIREWALL_KEY,)
        return ()

    async def instances() -> AsyncIterator[ObjectKey]:
        yield FIREWALL_KEY  # once at the start, even when there is no object to watch
        async for _ in changed_owners(ports.runtime):
            yield FIREWALL_KEY

    async def disruptions() -> AsyncIterator[ObjectKey]:
        async for _ in ports.firewall.disruptions():
            yield FIREWALL_KEY

    return Controller(
        "firewall",
        FirewallReconciler(cache.store, ports, rules, clock),
        cache,
        (
            Watch(Service, changed),
            Watch(NetworkPolicy, changed),
            Watch(Namespace, everything),
            Watch(Pod, relabelled),
            *(Watch(kind, changed) for kind in WORKLOADS),
        ),
        feeds=(instances, ports.traffic.for_firewall.keys, disruptions),
        workers=1,
        backoff=_RETRIES,
    )
