"""Contract of firewalls: the last table is in force, whoever changes it."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.support.firewall.memory_firewall import FakeFirewall

from upwell.firewall.interface import (
    Bridge,
    Firewall,
    FirewallError,
    FirewallTable,
    Opening,
)
from upwell.firewall.nftables import NftFirewall

BRIDGE = Bridge("upwell-none0", IPv4Network("10.9.8.0/23"), IPv4Network("10.9.10.0/23"))
ALL = Opening(IPv4Network("0.0.0.0/0"))
TABLE = FirewallTable(
    BRIDGE,
    ingress={
        "10.9.8.2": frozenset(),
        "10.9.8.3": frozenset({ALL, Opening(IPv4Network("10.9.8.2/32"))}),
        "10.9.8.4": frozenset({ALL._replace(protocol=6, first=80, last=90)}),
    },
    egress={"10.9.8.2": frozenset({ALL._replace(protocol=17), ALL._replace(protocol=132)})},
    services={("10.9.10.1", 80): None, ("10.9.10.1", 81): frozenset({ALL})},
    known=frozenset({"10.9.8.2", "10.9.8.3", "10.9.8.4"}),
    machine=frozenset({("192.0.2.2", 80), ("0.0.0.0", 30080)}),
)


@dataclass
class FirewallUnderTest:
    """A firewall, and how to look at it from outside."""

    firewall: Firewall
    addresses: Callable[[], Awaitable[set[str]]]
    """Return the addresses that the table in force knows; none without one."""
    lose: Callable[[], None]
    """Let somebody else remove the table."""
    fail: Callable[[], None]
    """Let it take no other table from now on."""


@pytest.fixture(params=["memory", "nftables"])
async def under_test(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[FirewallUnderTest]:
    if request.param == "memory":
        fake = FakeFirewall()

        async def remembered() -> set[str]:
            return set(fake.table.known) if fake.table else set()

        yield FirewallUnderTest(
            fake, remembered, fake.lose, lambda: setattr(fake, "fault", "told to fail")
        )
        return
    if shutil.which("nft") is None or os.geteuid() != 0:
        pytest.skip("nft is missing, or this is not root: apt install nftables")
    program = tmp_path / "nft"
    program.symlink_to(shutil.which("nft") or "")
    firewall = NftFirewall(tmp_path / "firewall", uuid.uuid4().hex[:8], nft=str(program))
    place = ("table", "inet", firewall._name)

    async def listed() -> set[str]:
        command = ("nft", "list", "set", *place[1:], "known")
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        return {word.strip(",") for word in done.stdout.decode().split() if word.startswith("10.")}

    yield FirewallUnderTest(
        firewall,
        listed,
        lambda: nft("delete", *place),
        program.unlink,
    )
    with contextlib.suppress(subprocess.CalledProcessError):
        nft("delete", *place)


def nft(*arguments: str) -> None:
    subprocess.run(["nft", *arguments], check=True, capture_output=True)


async def test_the_last_table_is_in_force(under_test: FirewallUnderTest) -> None:
    firewall = under_test.firewall
    assert await under_test.addresses() == set()
    for table in (TABLE, TABLE, replace(TABLE, known=frozenset({"10.9.8.2"})), TABLE):
        await firewall.apply(table)
        assert await under_test.addresses() == set(table.known)


async def test_removing_it_twice_is_as_removing_it(under_test: FirewallUnderTest) -> None:
    await under_test.firewall.remove()
    await under_test.firewall.apply(TABLE)
    for _ in range(2):
        await under_test.firewall.remove()
        assert await under_test.addresses() == set()
    await under_test.firewall.apply(TABLE)
    assert await under_test.addresses() == set(TABLE.known)


async def test_what_somebody_else_removes_is_noticed_and_put_back(
    under_test: FirewallUnderTest,
) -> None:
    await under_test.firewall.apply(TABLE)
    disruptions = under_test.firewall.disruptions()
    async with asyncio.timeout(60):
        for _ in range(2):
            under_test.lose()
            assert await anext(disruptions)
            await under_test.firewall.apply(TABLE)
            assert await under_test.addresses() == set(TABLE.known)


async def test_the_same_table_is_applied_again_where_it_is_gone(
    under_test: FirewallUnderTest,
) -> None:
    await under_test.firewall.apply(TABLE)
    under_test.lose()
    await under_test.firewall.apply(TABLE)
    assert await under_test.addresses() == set(TABLE.known)


async def test_the_former_table_stays_when_another_is_refused(
    under_test: FirewallUnderTest,
) -> None:
    await under_test.firewall.apply(TABLE)
    under_test.fail()
    with pytest.raises(FirewallError):
        await under_test.firewall.apply(replace(TABLE, known=frozenset()))
    assert await under_test.addresses() == set(TABLE.known)
