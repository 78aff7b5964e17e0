"""Conditions of NetworkPolicies, and what happens when the filter cannot be applied."""

import pytest
from tests.support.firewall.memory_firewall import FakeFirewall
from tests.support.rollouts.memory_machine import RolloutSetup
from tests.unit.policy.firewall.test_firewall_table import BRIDGE, policy

from upwell.api.conditions import find
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.firewall.interface import Bridge, FirewallError
from upwell.policy.firewall.table import FirewallRules
from upwell.reconcilers.firewall.reconciler import (
    FIREWALL_KEY,
    FirewallPorts,
    FirewallReconciler,
)


async def bridge() -> Bridge:
    return BRIDGE


async def conditions(setup: RolloutSetup) -> dict[str, tuple[str, str]]:
    stored = await setup.store.get(NetworkPolicy, "shop", "p")
    kinds = ("Accepted", "PartialFailure")
    found = [(kind, find(stored.status.conditions, kind)) for kind in kinds]
    return {kind: (one.status, one.message) for kind, one in found if one is not None}


async def test_a_policy_says_whether_it_is_in_force() -> None:
    setup, firewall = RolloutSetup(), FakeFirewall()
    ports = FirewallPorts(setup.runtime, firewall, bridge)
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
