"""The bridge of the instances: it goes with the last instance on it, and comes anew."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path
from secrets import token_hex

import pytest
from tests.integration.builder.test_build_network import run
from tests.support.workload.waiting import eventually

from upwell.firewall.interface import Bridge, FirewallTable
from upwell.firewall.nftables import NftFirewall
from upwell.machine.clock import now
from upwell.machine.components import Components, WatchedComponent

pytestmark = [
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is missing: apt install nftables"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root filters packets: run as root"),
]


@pytest.fixture
def bridge() -> Iterator[str]:
    """The name of a bridge that the test makes."""
    name = f"upwellb{token_hex(3)}"
    yield name
    if Path("/sys/class/net", name).exists():
        run("ip", "link", "del", name)


def make(bridge: str) -> None:
    run("ip", "link", "add", bridge, "type", "bridge")


def switch(bridge: str) -> Path:
    return Path("/sys/class/net", bridge, "bridge/nf_call_iptables")


@asynccontextmanager
async def filtering(
    bridge: str, folder: Path, component: WatchedComponent
) -> AsyncIterator[list[str]]:
    """Keep the filter in force while the block lasts; yields why it was applied anew."""
    firewall = NftFirewall(folder, uuid.uuid4().hex[:8], component)
    network = Bridge(bridge, IPv4Network("10.119.0.0/24"), IPv4Network("10.119.1.0/24"))
    table = FirewallTable(network)
    told: list[str] = []

    async def keep() -> None:
        async for why in firewall.disruptions():
            told.append(why)
            await firewall.apply(table)

    await firewall.apply(table)
    task = asyncio.create_task(keep())
    try:
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await firewall.remove()


async def is_filtered(bridge: str) -> bool:
    return switch(bridge).read_text().strip() == "1"


async def test_a_bridge_that_comes_anew_is_filtered_and_nobody_is_blamed(
    bridge: str, tmp_path: Path
) -> None:
    component = Components(now).add("firewall", required=False)
    async with filtering(bridge, tmp_path, component) as told:
        for _ in range(2):
            make(bridge)
            await eventually(lambda: is_filtered(bridge), bool)
            run("ip", "link", "del", bridge)
    assert told == []
    assert component.state.faults == ()


async def test_a_bridge_that_somebody_opens_is_a_fault_until_it_is_filtered_again(
    bridge: str, tmp_path: Path
) -> None:
    component = Components(now).add("firewall", required=False)
    make(bridge)
    async with filtering(bridge, tmp_path, component) as told:
        assert await is_filtered(bridge)
        switch(bridge).write_text("0")
        await eventually(lambda: is_filtered(bridge), bool)
    assert told == [f"the bridge {bridge} does not hand its packets to the filter"]
    assert [fault.reason for fault in component.state.faults] == ["RulesetChanged"]
