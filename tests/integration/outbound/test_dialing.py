"""Connections by the policy: real sockets, the real routes of this machine, a real DNS server."""

import asyncio
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from secrets import randbelow

import aiohttp
import pytest
from tests.support.outbound.dialers import loopback_dialer
from tests.support.outbound.name_server import name_server, run_resolving
from tests.support.verification.loopback import says, server

from upwell.outbound import routes
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy
from upwell.outbound.routes import route_to
from upwell.outbound.sessions import judged_connector

STRICT = Dialer(OutboundPolicy())
SPELLINGS = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "0"]


async def fetched(dialer: Dialer, url: str) -> str:
    async with (
        aiohttp.ClientSession(connector=judged_connector(dialer)) as session,
        session.get(url) as answer,
    ):
        return await answer.text()


def own_address() -> str:
    """An address of one of this machine's interfaces that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.77", 9))  # nothing is sent
        return str(probe.getsockname()[0])


def test_the_kernel_tells_routes() -> None:
    assert route_to(ip_address("127.0.0.1")).local
    assert route_to(ip_address("127.9.9.9")).local
    assert route_to(ip_address("::1")).local
    assert route_to(ip_address(own_address())).local
    there = route_to(ip_address("203.0.113.77"))
    assert (there.local, bool(there.interface)) == (False, True)


def test_nothing_is_sent_when_the_kernel_does_not_understand_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = routes._HEAD.pack(routes._HEAD.size + 4, routes._GET_ROUTE, 1, 1, 0)
    cut_short = head + bytes([socket.AF_INET, 32, 0, 0])
    monkeypatch.setattr(routes, "_question", lambda *_: cut_short)
    with pytest.raises(OSError, match="Invalid argument"):
        route_to(ip_address("203.0.113.77"))
    with pytest.raises(ForbiddenAddressError, match="whose route the kernel does not tell"):
        OutboundPolicy().check("203.0.113.77", 80)


async def test_an_address_of_this_machine_is_refused() -> None:
    where = own_address()
    with pytest.raises(ForbiddenAddressError, match=f"{where} is an address of this machine"):
        await STRICT.open_connection(where, 80)


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_loopback_is_connected_to(host: str) -> None:
    async with server(says("secret")) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(OSError, match=r"refused|canonical"):
            await STRICT.open_connection(host, port)
        with pytest.raises((aiohttp.ClientError, aiohttp.InvalidURL)):
            await fetched(STRICT, f"http://{host}:{port}/")


@pytest.mark.parametrize("allowed", ["127.0.0.1:{port}", "localhost:{port}", "127.0.0.0/8"])
async def test_what_is_allowed_is_connected_to(allowed: str) -> None:
    async with server(says("welcome")) as url:
        port = url.rpartition(":")[2]
        dialer = Dialer(OutboundPolicy.of([allowed.format(port=port)]))
        assert await fetched(dialer, url) == "welcome"
        assert await fetched(dialer, f"http://localhost:{port}") == "welcome"
        _, writer = await dialer.open_connection("127.0.0.1", int(port))
        writer.close()


async def test_another_port_of_an_allowed_address_is_refused() -> None:
    async with server(says("welcome")) as allowed, server(says("secret")) as other:
        dialer = Dialer(OutboundPolicy.of([allowed.removeprefix("http://")]))
        assert await fetched(dialer, allowed) == "welcome"
        with pytest.raises(aiohttp.ClientConnectorError, match="a loopback address"):
            await fetched(dialer, other)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_judged_as_well(status: str) -> None:
    async with (
        server(says("secret")) as inside,
        server(says("", status, Location=inside)) as outside,
    ):
        dialer = Dialer(OutboundPolicy.of([outside.removeprefix("http://")]))
        with pytest.raises(aiohttp.ClientConnectorError, match="a loopback address"):
            await fetched(dialer, outside)
        assert await fetched(loopback_dialer(), outside) == "secret"


async def test_a_name_that_is_bound_anew_leads_nowhere_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a resolver of its own needs root")
    resolver = f"127.53.{1 + randbelow(254)}.{1 + randbelow(254)}"
    program = """
import asyncio
from upwell.outbound import routes
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy

async def main():
    dialer = Dialer(OutboundPolicy.of(["127.0.0.2"]))
    for _ in range(2):
        try:
            reader, writer = await dialer.open_connection("rebind.test", PORT)
            print((await reader.read()).decode())
            writer.close()
        except OSError as error:
            print(error)

asyncio.run(main())
"""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("sockname")[0]).encode())
        writer.close()

    listening = await asyncio.start_server(serve, "0.0.0.0", 0)
    port = listening.sockets[0].getsockname()[1]
    async with name_server(resolver, "127.0.0.2", "127.0.0.3") as names, listening:
        said = await run_resolving(resolver, program.replace("PORT", str(port)), tmp_path)
    first, second = said.strip().splitlines()
    assert first == "127.0.0.2"
    assert second.startswith("refused: 127.0.0.3 (rebind.test) is a loopback address")
    assert names.asked == ["rebind.test", "rebind.test"]  # once for each connection
