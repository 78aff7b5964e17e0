"""Wires the firewall to the network of instances."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, ip_address

from upwell.app.machine.adapters import MachineAdapters
from upwell.controller import Controller, ObjectCache
from upwell.firewall.interface import Bridge, FirewallError
from upwell.firewall.nftables import NftFirewall
from upwell.machine.clock import now
from upwell.outbound.resolvers import machine_resolvers
from upwell.policy.firewall.table import FirewallRules, NetworkIsolation
from upwell.reconcilers.firewall.reconciler import FirewallPorts, firewall_controller
from upwell.reconcilers.rollouts.traffic import Traffic
from upwell.settings import ServerSettings
from upwell.workload.podman.runtime import PodmanRuntime


def firewall(
    settings: ServerSettings, machine: MachineAdapters, cache: ObjectCache, traffic: Traffic
) -> Sequence[Controller]:
    """Return what keeps the filter in force; nothing where the settings say off."""
    rules = firewall_rules(settings)
    if rules is None:
        return ()
    runtime = machine.runtime
    ports = FirewallPorts(
        runtime,
        machine.firewall,
        lambda: _bridge(runtime),
        traffic,
        settings.own_places,
    )
    return (firewall_controller(cache, ports, rules, now),)


def firewall_rules(settings: ServerSettings) -> FirewallRules | None:
    """Return what the settings say; None: nothing is filtered."""
    network = settings.network
    if network.isolation is NetworkIsolation.OFF:
        return None
    _, *routers = settings.own_places
    places = {(host, port) for host, port in routers if _is_ipv4(host)}
    places |= {("0.0.0.0", port) for port in network.machine_ports}  # noqa: S104 - any of its own
    return FirewallRules(network.isolation, frozenset(places), network.metadata)


def _is_ipv4(host: str) -> bool:
    """Return True for an address that instances may connect to: no name, and no IPv6."""
    with suppress(ValueError):
        return isinstance(ip_address(host), IPv4Address)
    return False


async def remove_filter(firewall: NftFirewall) -> None:
    """Remove the filter, as nothing runs any more that it is about, or the settings say off."""
    with suppress(FirewallError):  # without nftables there is none
        await firewall.remove()


async def _bridge(runtime: PodmanRuntime) -> Bridge:
    network = await runtime.network()
    resolvers = frozenset(await asyncio.to_thread(machine_resolvers))
    return Bridge(network.interface, network.instances, network.services, resolvers)
