"""Questions for names: they pass where any other packet would, and reach the resolvers."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from secrets import randbelow, token_hex

import pytest
from tests.integration.builder.test_build_network import run
from tests.support.outbound.machine_beside import machine_beside

from upwell.firewall.interface import Bridge, FirewallTable, Opening
from upwell.firewall.nftables import NftFirewall

pytestmark = [
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing: apt install nftables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root filters packets: run as root"),
]

PUBLIC, RESOLVER, METADATA = "198.51.100", "169.254.53", "169.254.54"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 53), 1)"


@dataclass(frozen=True)
class InstanceNetwork:
    """A bridge with one instance on it."""

    bridge: Bridge
    name: str
    """Of the network namespace of the instance."""
    address: str

    def asks(self, address: str) -> bool:
        argv = ("ip", "netns", "exec", self.name, sys.executable, "-c", CONNECT, address)
        done = subprocess.run(argv, capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture
def network() -> Iterator[InstanceNetwork]:
    text = token_hex(3)
    name, bridge, link = f"instance-{text}", f"upwelln{text}", f"upn{text}"
    net = IPv4Address("10.120.0.0") + 1024 * randbelow(64)
    gateway, inside = net + 1, net + 2
    run("ip", "netns", "add", name)
    try:
        for command in (
            f"ip link add {bridge} type bridge",
            f"ip addr add {gateway}/23 dev {bridge}",
            f"ip link set {bridge} up",
            f"ip link add {link} master {bridge} type veth peer name eth0 netns {name}",
            f"ip link set {link} up",
            f"ip -n {name} addr add {inside}/23 dev eth0",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} route add default via {gateway}",
        ):
            run(*command.split())
        found = Bridge(bridge, IPv4Network(f"{net}/23"), IPv4Network(f"{net + 512}/23"))
        yield InstanceNetwork(found, name, str(inside))
    finally:
        subprocess.run(("ip", "link", "del", bridge), check=False)
        run("ip", "netns", "del", name)


async def test_no_policy_is_passed_by_at_the_port_of_names(
    network: InstanceNetwork, tmp_path: Path
) -> None:
    firewall = NftFirewall(tmp_path / "firewall", uuid.uuid4().hex[:8])
    with (
        machine_beside(PUBLIC, 53) as public,
        machine_beside(RESOLVER, 53) as resolver,
        machine_beside(METADATA, 53) as metadata,
    ):
        open_ = FirewallTable(
            replace(network.bridge, resolvers=frozenset({resolver})),
            known=frozenset({network.address}),
        )
        closed = replace(open_, egress={network.address: frozenset()})
        names = frozenset({Opening(IPv4Network(f"{resolver}/32"), 6, 53, 53)})
        for table, reached in (
            (open_, {public, resolver}),
            (replace(open_, metadata=True), {public, resolver, metadata}),
            (closed, set()),
            (replace(closed, known=frozenset(), egress={"192.0.2.1": frozenset()}), set()),
            (replace(closed, egress={network.address: names}), {resolver}),
        ):
            try:
                await firewall.apply(table)
                found = {one for one in (public, resolver, metadata) if network.asks(one)}
            finally:
                await firewall.remove()
            assert found == reached
