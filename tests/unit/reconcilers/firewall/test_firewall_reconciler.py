"""Conditions of NetworkPolicies, and what happens when the filter cannot be applied."""

import pytest
from tests.support.firewall.memory_firewall import FakeFirewall
from tests.support.rollouts.memory_machine import RolloutSetup
from tests.unit.policy.firewall.test_firewall_table import BRIDGE, SERVICE, policy, service

from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.firewall.interface import Bridge, FirewallError
from upwell.policy.firewall.table import FirewallRules
from upwell.policy.routing.claims import Place
from upwell.reconcilers.firewall.reconciler import FirewallPorts, FirewallReconciler
from upwell.reconcilers.rollouts.traffic import FIREWALL_KEY, ROUTER_KEY


async def bridge() -> Bridge:
    return BRIDGE


async def conditions(setup: RolloutSetup) -> dict[str, tuple[str, str]]:
    stored = await setup.store.get(NetworkPolicy, "shop", "p")
    kinds = ("Accepted", "PartialFailure")
    found = [(kind, find(stored.status.conditions, kind)) for kind in kinds]
    return {kind: (one.status, one.message) for kind, one in found if one is not None}


async def test_a_policy_says_whether_it_is_in_force() -> None:
    setup, firewall = RolloutSetup(), FakeFirewall()
    ports = FirewallPorts(setup.runtime, firewall, bridge, setup.traffic)
    reconciler = FirewallReconciler(setup.store, ports, FirewallRules(), setup.clock)
    block = {"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}
    await setup.store.create(policy(podSelector={}, ingress=[block]))

    await reconciler.reconcile(FIREWALL_KEY)
    assert firewall.table is not None
    told = await conditions(setup)
    assert told["Accepted"] == ("True", "")
    assert "2001:db8::/32" in told["PartialFailure"][1]

    firewall.fault = "nft is not installed: apt install nftables"
    with pytest.raises(FirewallError):
        await reconciler.reconcile(FIREWALL_KEY)
    status, message = (await conditions(setup))["Accepted"]
    assert status == "False"
    assert "apt install nftables" in message

    firewall.fault = ""
    stored = await setup.store.get(NetworkPolicy, "shop", "p")
    await setup.store.update(stored.model_copy(update={"spec": policy().spec}))
    await reconciler.reconcile(FIREWALL_KEY)
    assert await conditions(setup) == {"Accepted": ("True", "")}


class Filtered:
    """A router and a filter that follows it; `restart` is a new process."""

    def __init__(self) -> None:
        self.setup, self.firewall = RolloutSetup(), FakeFirewall()
        self.setup.services = BRIDGE.services
        self.setup.reserved = (("0.0.0.0", 30_099),)
        self.restart()

    def restart(self) -> None:
        setup = self.setup
        setup.restart()
        ports = FirewallPorts(setup.runtime, self.firewall, bridge, setup.traffic, setup.reserved)
        self._reconciler = FirewallReconciler(setup.store, ports, FirewallRules(), setup.clock)

    async def route(self) -> None:
        """Let the router take its table; the filter has to hear of it where that is another."""
        await self.setup.routing.reconcile(ROUTER_KEY)
        if FIREWALL_KEY in self.setup.traffic.for_firewall._pending:
            await self.filter()

    async def filter(self) -> None:
        await self._reconciler.reconcile(FIREWALL_KEY)

    @property
    def services(self) -> set[Place]:
        return set(self.firewall.table.services) if self.firewall.table else set()

    @property
    def machine(self) -> set[Place]:
        return set(self.firewall.table.machine) if self.firewall.table else set()


def on_node(name: str, number: int) -> Service:
    port = service().spec.ports[0].model_copy(update={"node_port": number})
    spec = service(name).spec.model_copy(update={"type": "NodePort", "ports": (port,)})
    return service(name, address=f"10.9.10.{number % 100}").model_copy(
        update={"spec": spec.model_copy(update={"cluster_ip": f"10.9.10.{number % 100}"})}
    )


async def test_the_filter_knows_the_places_that_the_router_has() -> None:
    one = Filtered()
    await one.setup.store.create(service())
    await one.filter()
    assert one.services == {SERVICE}  # what is open stays so until the router has begun
    await one.route()
    assert one.services == {SERVICE}

    one.setup.router.failures = {"shop:db:80": "the port is in use"}
    await one.route()
    assert one.services == set()
    one.setup.router.failures = {}
    await one.route()
    assert one.services == {SERVICE}
    await one.setup.store.delete(Service, "shop", "db")
    await one.route()
    assert one.services == set()


async def test_no_port_of_the_machine_is_opened_that_the_router_refused() -> None:
    one = Filtered()
    for name, number in (("mine", 30_080), ("second", 30_080), ("servers", 30_099)):
        await one.setup.store.create(on_node(name, number))
    for _ in range(2):
        await one.filter()
        assert one.machine == {("0.0.0.0", 30_080)}
        await one.route()
        assert one.machine == {("0.0.0.0", 30_080)}
        one.setup.router.failures = {"shop:mine:80:node": "another program listens there"}
        await one.route()
        assert one.machine == set()
        one.setup.router.failures = {}
        one.restart()
