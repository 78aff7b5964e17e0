"""The network of builds: past this machine, and nowhere near it."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

import pytest
from tests.integration.builder.test_build_isolation import printed
from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log
from tests.support.outbound.machine_beside import machine_beside

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.confinement.network import BuildNetworkAccess, build_network, remove_networks
from upwell.builder.interface import BuildError

PUBLIC, PRIVATE = "198.51.100", "10.213.77"


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def own_addresses() -> list[str]:
    shown = run("ip", "-4", "-o", "addr").splitlines()
    return [line.split()[3].partition("/")[0] for line in shown]


@pytest.fixture
def served() -> Iterator[int]:
    """A port that this machine serves at all of its addresses; whoever connects fails the test."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # all are tried
        server.settimeout(0)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


def ask(address: str, port: int = 80) -> str:
    return f"nc -w 2 {address} {port} </dev/null && echo in {address} || echo out {address}"


async def test_no_address_of_the_machine_is_reached(
    builder: BuildahBuilder, images: BaseImages, served: int
) -> None:
    addresses = [*own_addresses(), "169.254.169.254", "0.0.0.0"]  # none is bound
    gateway = "$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')"
    asked = [ask(address, served) for address in (*addresses, gateway)]
    text = await printed(builder, images, "near", f"RUN {'; '.join(asked)}")
    shown = [line for line in text.splitlines() if line.startswith(("in ", "out "))]
    assert len(shown) == len(asked)
    assert [line for line in shown if line.startswith("in ")] == []


async def test_what_the_builder_fetches_is_held_too(
    builder: BuildahBuilder, images: BaseImages, served: int
) -> None:
    address = next(one for one in own_addresses() if not one.startswith("127."))
    log = Log()
    text = f"FROM base:1\nADD http://{address}:{served}/x /x\n"
    with pytest.raises(BuildError):
        await builder.build(plan(images, "fetched", dockerfile=text, push=None), log)
    assert "`allowed-networks` below `[builds]`" in log.text


async def test_other_machines_are_reached_and_private_ones_where_that_is_allowed(
    settings: BuildahSettings, images: BaseImages
) -> None:
    with machine_beside(PUBLIC) as public, machine_beside(PRIVATE) as private:
        lines = f"RUN {ask(public)}; {ask(private)}\nADD http://{public}/ /index"
        text = await printed(BuildahBuilder(settings, dialer=None), images, "far", lines)
        assert {f"in {public}", f"out {private}"} <= set(text.splitlines())
        allowing = replace(settings, networks=BuildNetworkAccess((f"{PRIVATE}.0/24", "fd00::/8")))
        text = await printed(
            BuildahBuilder(allowing, dialer=None), images, "allowed", f"RUN {ask(private)}"
        )
        assert f"in {private}" in text.splitlines()


async def test_an_allowed_network_does_not_open_the_machine(
    settings: BuildahSettings, images: BaseImages, served: int
) -> None:
    allowing = replace(settings, networks=BuildNetworkAccess(("0.0.0.0/1", "128.0.0.0/1")))
    asked = "; ".join(ask(address, served) for address in own_addresses())
    text = await printed(BuildahBuilder(allowing, dialer=None), images, "open", f"RUN {asked}")
    assert not any(line.startswith("in ") for line in text.splitlines())


async def test_a_build_sees_no_interface_but_its_own(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    text = await printed(builder, images, "sys", "RUN echo $(ls /sys/class/net)")
    assert "eth0 lo" in text.splitlines()


async def test_the_administrator_may_give_builds_the_machines_network(
    settings: BuildahSettings, images: BaseImages
) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1") as server:
        lines = f"RUN {ask('127.0.0.1', server.sockets[0].getsockname()[1])}"
        text = await printed(
            BuildahBuilder(replace(settings, network="host"), dialer=None), images, "h", lines
        )
    assert "in 127.0.0.1" in text.splitlines()


async def test_networks_go_with_their_builds_and_those_of_killed_ones_at_the_next_start() -> None:
    owner, stranger = token_hex(8), token_hex(8)

    def left() -> list[str]:
        names = [path.name for path in Path("/run/netns").glob(f"upwell-build-{owner[:8]}-*")]
        tables = run("nft", "list", "tables").splitlines()
        return [*names, *(table for table in tables if owner[:8] in table)]

    async with build_network(owner, BuildNetworkAccess()):
        assert len(left()) == 2
    assert left() == []
    async with build_network(stranger, BuildNetworkAccess()) as other:
        forgotten = build_network(owner, BuildNetworkAccess())
        await forgotten.__aenter__()
        assert len(left()) == 2
        await remove_networks(owner)
        assert left() == []
        await remove_networks(owner)
        assert await asyncio.to_thread(Path("/run/netns", other.name).exists)
        await forgotten.__aexit__(None, None, None)
