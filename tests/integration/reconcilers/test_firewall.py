"""Namespaces kept apart, and NetworkPolicies, with real containers and nftables."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.integration.reconcilers.test_services_and_routes import apply, ready, service, serving
from tests.support.ports import free_port
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.waiting import eventually

from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.networking.network_policy import NetworkPolicy
from upwell.controller import ObjectCache
from upwell.firewall.interface import Bridge
from upwell.firewall.nftables import NftFirewall
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.policy.firewall.table import FirewallRules, NetworkIsolation
from upwell.reconcilers.firewall.reconciler import FirewallPorts, firewall_controller
from upwell.workload.podman.runtime import PodmanRuntime

__all__ = ["podman_home", "real_rollouts"]  # fixtures

pytestmark = [
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing: apt install nftables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root filters packets: run as root"),
]


@dataclass
class Network:
    """Instances that run, and the filter."""

    rollouts: RealRollouts
    runtime: PodmanRuntime
    components: Components
    table: str

    async def asks(self, owner: str, address: str, port: int) -> bool:
        """Return whether an instance of `owner` gets an answer from there."""
        client = next(one for one in await self.runtime.instances() if one.owner.name == owner)
        url = f"http://{address}:{port}/"
        command = ("/bin/busybox", "wget", "-q", "-O", "-", "-T", "2", url)
        code, _ = await self.runtime.execute(client.name, command)
        return code == 0

    async def address_of(self, owner: str) -> str:
        instances = await self.runtime.instances()
        return next(one.address for one in instances if one.owner.name == owner)

    async def until(self, ask: Callable[[], Awaitable[bool]], *, answered: bool) -> None:
        """Wait for an answer, or for none."""
        await eventually(ask, lambda found: found is answered)

    async def report(self, name: str) -> str:
        policy = await self.rollouts.store.get(NetworkPolicy, "else", name)
        condition = find(policy.status.conditions, "Accepted")
        return condition.status if condition else ""


@asynccontextmanager
async def network(
    rollouts: RealRollouts, rules: FirewallRules | None = None
) -> AsyncIterator[Network]:
    components = Components(now)
    name = rollouts.podman.instance_id
    firewall = NftFirewall(
        rollouts.podman.data_dir / "firewall", name, components.add("firewall", required=False)
    )
    async with rollouts.serve() as runtime, asyncio.TaskGroup() as group:

        async def bridge() -> Bridge:
            found = await runtime.network()
            return Bridge(found.interface, found.instances, found.services)

        cache = ObjectCache(rollouts.store)
        ports = FirewallPorts(runtime, firewall, bridge, rollouts.traffic)
        controller = firewall_controller(cache, ports, rules or FirewallRules(), now)
        tasks = [group.create_task(one.run()) for one in (cache, controller)]
        try:
            yield Network(rollouts, runtime, components, f"upwell-{name}")
        finally:
            for task in tasks:
                task.cancel()
            await firewall.remove()
            await firewall.remove()
    assert f"upwell-{name}" not in nft("list", "tables")


def nft(*arguments: str) -> str:
    done = subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def policy(name: str, **spec: Any) -> NetworkPolicy:
    metadata = {"namespace": "else", "name": name}
    return decode_as(NetworkPolicy, {"metadata": metadata, "spec": spec})


async def begin(rollouts: RealRollouts, net: Network) -> None:
    """Run two instances in one namespace and one in another, each with a Service."""
    image = str(rollouts.image)
    server = serving(image, "server").with_metadata(namespace="else")
    await apply(rollouts, server, service("server", "else"))
    await apply(rollouts, serving(image, "client"), serving(image, "peer"), service("peer"))
    await ready(net.runtime, 3)


async def test_namespaces_reach_each_other_by_their_services_alone(
    real_rollouts: RealRollouts,
) -> None:
    async with network(real_rollouts) as net:
        await begin(real_rollouts, net)
        peer, server = await net.address_of("peer"), await net.address_of("server")
        await net.until(partial(net.asks, "client", peer, 8080), answered=True)
        await net.until(partial(net.asks, "client", server, 8080), answered=False)
        assert not await net.asks("server", peer, 8080)
        for name in ("peer", "server.else"):
            await net.until(partial(net.asks, "client", name, 80), answered=True)

        # Somebody flushes all rules: they are put back, and told.
        nft("delete", "table", "inet", net.table)
        await net.until(partial(net.asks, "client", server, 8080), answered=False)

        async def faults() -> list[str]:
            states = {state.name: state for state in net.components.states()}
            return (
                [] if states["firewall"].faulty else [f.reason for f in states["firewall"].faults]
            )

        assert "RulesetChanged" in await eventually(faults, bool)
        assert net.table in nft("list", "tables")
        assert not await net.asks("client", server, 8080)


async def test_instances_do_not_reach_what_listens_on_the_machine(
    real_rollouts: RealRollouts,
) -> None:
    with closing(socket.create_server(("0.0.0.0", 0))) as listener:
        port = listener.getsockname()[1]
        allowed = free_port()
        rules = FirewallRules(machine=frozenset({("0.0.0.0", allowed)}))
        async with network(real_rollouts, rules) as net:
            await begin(real_rollouts, net)
            gateway = str((await net.runtime.network()).instances[1])
            await net.until(partial(net.asks, "client", "peer", 80), answered=True)
            with closing(socket.create_server(("0.0.0.0", allowed))) as other:
                for one, is_open in ((listener, False), (other, True)):
                    number = one.getsockname()[1]
                    one.settimeout(5 if is_open else 0.1)
                    asked = asyncio.create_task(net.asks("client", gateway, number))
                    try:
                        taken, _ = await asyncio.to_thread(one.accept)
                    except TimeoutError:
                        assert not is_open
                    else:
                        taken.close()
                        assert is_open
                    await asked
            address = (await real_rollouts.store.get(Service, "shop", "peer")).spec.cluster_ip
            assert not await net.asks("client", address or "", port)


async def test_policies_open_and_close(real_rollouts: RealRollouts) -> None:
    async with network(real_rollouts) as net:
        await begin(real_rollouts, net)
        store = real_rollouts.store
        server = await net.address_of("server")
        namespaces = {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}
        pods = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["client"]}]}
        peers = [{"namespaceSelector": namespaces, "podSelector": pods}]
        rule = {"from": peers, "ports": [{"port": 8080}]}
        await store.create(policy("in", podSelector={}, ingress=[rule]))
        await net.until(partial(net.asks, "client", server, 8080), answered=True)
        await net.until(partial(net.asks, "client", "server.else", 80), answered=True)
        assert not await net.asks("peer", server, 8080)
        assert not await net.asks("peer", "server.else", 80)
        assert await eventually(partial(net.report, "in"), bool) == "True"

        # Nothing comes out, by whatever way.
        out = policy("out", podSelector={}, policyTypes=["Egress"])
        await net.until(partial(net.asks, "server", "peer.shop", 80), answered=True)
        await store.create(out)
        await net.until(partial(net.asks, "server", "peer.shop", 80), answered=False)
        # It still answers: connections that were let in have both ways.
        assert await net.asks("client", server, 8080)

        to = [{"namespaceSelector": namespaces, "podSelector": {"matchLabels": {"app": "peer"}}}]
        spec = policy("out", policyTypes=["Egress"], egress=[{"to": to}]).spec
        stored = await store.get(NetworkPolicy, "else", "out")
        await store.update(stored.model_copy(update={"spec": spec}))
        await net.until(partial(net.asks, "server", "peer.shop", 80), answered=True)

        for name in ("in", "out"):
            await store.delete(NetworkPolicy, "else", name)
        await net.until(partial(net.asks, "peer", "server.else", 80), answered=True)


async def test_a_service_that_asks_for_the_address_of_another_opens_nothing(
    real_rollouts: RealRollouts,
) -> None:
    async with network(real_rollouts) as net:
        await begin(real_rollouts, net)
        await net.until(partial(net.asks, "client", "server.else", 80), answered=True)
        await real_rollouts.store.create(policy("closed", podSelector={}))
        await net.until(partial(net.asks, "client", "server.else", 80), answered=False)
        address = (await real_rollouts.store.get(Service, "else", "server")).spec.cluster_ip
        asking = service("nothing", clusterIP=address)
        await apply(real_rollouts, asking)

        async def refused() -> bool:
            stored = await real_rollouts.store.get(Service, "shop", "nothing")
            found = find(stored.status.conditions, "Ready")
            return found is not None and not found.is_true

        await eventually(refused, bool)
        assert not await net.asks("client", "server.else", 80)
        await real_rollouts.store.delete(NetworkPolicy, "else", "closed")
        await net.until(partial(net.asks, "client", "server.else", 80), answered=True)


async def test_open_is_as_in_kubernetes(real_rollouts: RealRollouts) -> None:
    rules = FirewallRules(NetworkIsolation.OPEN)
    async with network(real_rollouts, rules) as net:
        await begin(real_rollouts, net)
        server = await net.address_of("server")
        await net.until(partial(net.asks, "client", server, 8080), answered=True)
        await real_rollouts.store.create(policy("none", podSelector={}))
        await net.until(partial(net.asks, "client", server, 8080), answered=False)
        assert not await net.asks("client", "server.else", 80)
