"""A real HAProxy in hostile hands: what clients claim of themselves, and what it may do itself."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.ports import free_port

from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import Backend, BackendServer, HttpRule, Listener, RoutingTable

RULE = HttpRule("web", "web.test", "", (("b", 1),))
CLAIMS = {
    "X-Forwarded-For": "6.6.6.6",
    "x-forwarded-proto": "https",
    "X-Forwarded-Host": "bank.test",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/admin",
    "X_Forwarded_For": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;proto=https",
}


@pytest.fixture
async def settings(folder: Path) -> AsyncIterator[HaproxySettings]:
    settings = HaproxySettings(folder, f"127.0.0.1:{free_port()}")
    yield settings
    await HaproxyRouter(settings).stop()


@asynccontextmanager
async def echo() -> AsyncIterator[BackendServer]:
    """Run a server that answers with the head of the request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = f"HTTP/1.1 200 OK\r\nContent-Length: {len(head)}\r\n\r\n"
        writer.write(size.encode() + head)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield BackendServer("one", *server.sockets[0].getsockname())


async def headers(port: int, claims: Mapping[str, str] = CLAIMS) -> list[tuple[str, str]]:
    """Return the headers that arrive of a request with these."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{name}: {value}" for name, value in {"Host": "web.test", **claims}.items()]
    writer.write("\r\n".join(["GET / HTTP/1.1", *lines, "Connection: close", "", ""]).encode())
    async with asyncio.timeout(60):
        answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 200"), answer
    body = answer.split("\r\n\r\n")[1]
    pairs = [line.split(": ", 1) for line in body.splitlines()[1:] if line]
    return [(name.lower(), value) for name, value in pairs]


def process_status(pid: int) -> dict[str, str]:
    """Return what the kernel says of a process, with the root of its file system."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {**fields, "root": str(Path(f"/proc/{pid}/root").readlink())}


def port_of(settings: HaproxySettings) -> int:
    return int(settings.http_address.rpartition(":")[2])


async def test_what_a_client_claims_of_itself_is_replaced(settings: HaproxySettings) -> None:
    node = free_port()
    listener = Listener("node", "0.0.0.0", node, "b", http=True)
    async with echo() as endpoint:
        table = RoutingTable((Backend("b", (endpoint,)),), (RULE,), (listener,))
        assert await HaproxyRouter(settings).apply(table) == {}
        for port in (port_of(settings), node):
            got = await headers(port)
            assert not [value for _, value in got if "6.6.6.6" in value or "bank" in value]
            known = [(name, value) for name, value in got if "forwarded" in name]
            assert sorted(known) == [
                ("forwarded", "for=127.0.0.1;proto=http"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", "web.test"),
                ("x-forwarded-port", str(port)),
                ("x-forwarded-proto", "http"),
            ]


async def test_what_a_trusted_proxy_says_is_passed_on(settings: HaproxySettings) -> None:
    trusting = replace(settings, trusted_proxies=("192.0.2.0/24", "127.0.0.0/8"))
    async with echo() as endpoint:
        table = RoutingTable((Backend("b", (endpoint,)),), (RULE,))
        assert await HaproxyRouter(trusting).apply(table) == {}
        got = await headers(port_of(settings))
        assert [value for name, value in got if name == "x-forwarded-for"] == [
            "6.6.6.6",
            "127.0.0.1",
        ]
        assert dict(got)["x-forwarded-proto"] == "https"
        assert dict(got)["x-forwarded-host"] == "bank.test"
        assert dict(got)["forwarded"] == CLAIMS["Forwarded"]
        # What it does not say, the router does.
        assert dict(await headers(port_of(settings), {}))["x-forwarded-proto"] == "http"

        # Others say nothing that counts.
        strict = replace(settings, trusted_proxies=("192.0.2.0/24",))
        assert await HaproxyRouter(strict).apply(table) == {}
        assert dict(await headers(port_of(settings)))["x-forwarded-for"] == "127.0.0.1"


async def test_one_service_passes_on_what_another_says(settings: HaproxySettings) -> None:
    port = free_port()
    listener = Listener("b", "127.77.0.9", port, "b", http=True)
    async with echo() as endpoint:
        table = RoutingTable((Backend("b", (endpoint,)),), (), (listener,))
        assert await HaproxyRouter(settings).apply(table) == {}
        reader, writer = await asyncio.open_connection("127.77.0.9", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: b\r\nX-Forwarded-Proto: https\r\n\r\n")
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert b" 200 " in head
        assert b"x-forwarded-proto: https" in body.lower()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user: run as root")
async def test_who_serves_has_no_rights_and_sees_no_files(settings: HaproxySettings) -> None:
    router = HaproxyRouter(settings)
    async with echo() as endpoint:
        for rules in ((RULE,), (RULE, replace(RULE, name="more", host="more.test"))):  # a reload
            assert await router.apply(RoutingTable((Backend("b", (endpoint,)),), rules)) == {}
            [worker, *_] = await router._cli.workers()
            fields = process_status(worker)
            user = pwd.getpwnam("haproxy")
            assert fields["Uid"].split() == [str(user.pw_uid)] * 4
            assert fields["Gid"].split() == [str(user.pw_gid)] * 4
            assert fields["Groups"].split() in ([], [str(user.pw_gid)])
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(fields[kind], 16) == 0, kind
            assert fields["root"] == str(settings.data_dir / "root")
            assert dict(await headers(port_of(settings)))["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user: run as root")
async def test_without_a_user_of_its_own_it_is_nobody(settings: HaproxySettings) -> None:
    router = HaproxyRouter(replace(settings, user="no-such-user"))
    async with echo() as endpoint:
        assert await router.apply(RoutingTable((Backend("b", (endpoint,)),), (RULE,))) == {}
        [worker] = await router._cli.workers()
        assert process_status(worker)["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4
        assert await headers(port_of(settings))
