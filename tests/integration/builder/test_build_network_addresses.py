"""Addresses of builds' networks, and what holds them from outside."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from secrets import randbelow, token_hex

import pytest
from tests.integration.builder.test_build_network import PRIVATE, PUBLIC, run
from tests.support.outbound.machine_beside import machine_beside

from upwell.builder.confinement import network
from upwell.builder.confinement.network import BuildNetwork, BuildNetworkAccess, build_network
from upwell.builder.interface import BuildError

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 80), 2)"
MANY = 400


@asynccontextmanager
async def of_a_build(*allowed: str) -> AsyncIterator[BuildNetwork]:
    async with build_network(token_hex(8), BuildNetworkAccess(allowed)) as made:
        yield made


def inside(made: BuildNetwork, *argv: str) -> subprocess.CompletedProcess[str]:
    command = ("ip", "netns", "exec", made.name, *argv)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def reaches(made: BuildNetwork, address: str) -> bool:
    return inside(made, sys.executable, "-c", CONNECT, address).returncode == 0


def address_of(made: BuildNetwork) -> str:
    [link] = json.loads(inside(made, "ip", "-j", "-4", "addr", "show", "eth0").stdout)
    return str(link["addr_info"][0]["local"])


@pytest.fixture
def many_addresses(tmp_path: Path) -> Iterator[list[str]]:
    """Addresses of this machine, more than the end of a command's output shows."""
    link = f"many{token_hex(3)}"
    found = [f"10.119.{n // 200}.{n % 200 + 1}" for n in range(MANY)]
    batch = tmp_path / "batch"
    batch.write_text("".join(f"addr add {one}/32 dev {link}\n" for one in found))
    run("ip", "link", "add", link, "type", "bridge")
    try:
        run("ip", "-batch", str(batch))
        yield found
    finally:
        run("ip", "link", "del", link)


async def test_every_address_of_the_machine_is_refused_however_many_there_are(
    many_addresses: list[str],
) -> None:
    async with of_a_build("0.0.0.0/1", "128.0.0.0/1") as made:
        shown = inside(made, "nft", "list", "table", "inet", "build").stdout
        before, _, _ = shown.partition("0.0.0.0/1")
        words = set(before.replace(",", " ").split())
        assert {"127.0.0.1", *many_addresses} <= words


async def test_addresses_that_are_not_told_fail_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ip"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    for told in ("", "3: eth0", "{}x", '[{"addr_info": [{"local": "x"}]}]', "[3]", '["a"]'):
        program.write_text(f"#!/bin/sh\necho '{told}'\n")
        program.chmod(0o755)
        with pytest.raises(BuildError, match="tells no addresses") as failed:
            await network._addresses()
        assert failed.value.retryable, "the machine is at fault, not the build"
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    with pytest.raises(BuildError, match="ip: broken"):
        await network._addresses()


async def test_addresses_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ip"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    told = '[{"addr_info": [{"local": "192.0.2.1", "prefixlen": 24}]}]'
    once = f"test -e {tmp_path}/asked || echo Dump was interrupted and may be inconsistent. >&2"
    program.write_text(f"#!/bin/sh\n{once}\ntouch {tmp_path}/asked\necho '{told}'\n")
    program.chmod(0o755)

    assert [str(one) for one in await network._addresses()] == ["192.0.2.1/24"]


async def test_no_two_builds_have_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    small = IPv4Network((int(IPv4Network("198.19.0.0/16")[0]) + 32 * randbelow(2048), 27))
    monkeypatch.setattr(network, "_RANGE", small)
    async with AsyncExitStack() as stack:
        enter = [stack.enter_async_context(of_a_build()) for _ in range(4)]
        found = [address_of(one) for one in await asyncio.gather(*enter)]
        assert len(set(found)) == len(found)
        for _ in range(4):
            found.append(address_of(await stack.enter_async_context(of_a_build())))  # noqa: PERF401
        assert len(set(found)) == 8
        with pytest.raises(BuildError, match="are in use"):
            await stack.enter_async_context(of_a_build())


async def test_a_filter_that_is_gone_inside_opens_nothing() -> None:
    with machine_beside(PUBLIC) as public, machine_beside(PRIVATE) as private:
        for allowed in ((), (f"{PRIVATE}.0/24",)):
            async with of_a_build(*allowed) as made:
                assert inside(made, "nft", "flush", "ruleset").returncode == 0
                assert reaches(made, public)
                assert reaches(made, private) is bool(allowed)
                own = str(IPv4Address(private) - 1)
                assert not reaches(made, own), "an address of this machine"


async def test_nobody_connects_to_a_build() -> None:
    async with of_a_build() as one, of_a_build() as other:
        for made in (one, other):
            assert inside(made, "nft", "flush", "ruleset").returncode == 0
        listen = "import socket; s = socket.create_server(('', 80)); print('up', flush=True)"
        argv = ("ip", "netns", "exec", one.name, sys.executable, "-c", f"{listen}; s.accept()")
        server = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert await server.stdout.readline() == b"up\n"
            assert not await asyncio.to_thread(reaches, other, address_of(one))
        finally:
            server.kill()
            await server.wait()
