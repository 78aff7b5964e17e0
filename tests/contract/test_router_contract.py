"""Contract of routers: the last table is the truth, and no open session is lost."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import pytest
from tests.support.ports import free_port
from tests.support.rollouts.memory_machine import FakeRouter
from tests.support.router.haproxy_folder import haproxy_folder
from tests.support.workload.http_servers import NamedEndpoint, fetch, named_endpoint
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import (
    Backend,
    BackendServer,
    HttpRule,
    Listener,
    Router,
    RouterDownError,
    RouterUnavailableError,
    RoutingTable,
)

HOST, BACKEND = "shop.example", "shop/web:http"
RULE = HttpRule("shop", HOST, "/", ((BACKEND, 1),))
_ROUNDS = 4


@dataclass
class RouterUnderTest:
    """A router, and how to look at it from outside."""

    router: Router
    targets: Callable[[], Awaitable[set[str]]]
    """Return the endpoints that new requests go to."""
    session: Callable[[NamedEndpoint], AbstractAsyncContextManager[None]]
    """Keep a session open, to the one endpoint that there is."""
    foresee: Callable[[dict[str, str]], None]
    """Tell a router in memory what a machine would find out: names, and why they fail."""
    refuse: Callable[[], None]
    """Let it take no other table from now on."""
    down: Callable[[], Router]
    """Return one that cannot start."""
    reopened: Callable[[], Router]
    """Return the same router as another process finds it."""
    end: Callable[[], Awaitable[None]]
    """Let it end, as by a fault."""


def in_memory(router: FakeRouter) -> RouterUnderTest:
    async def targets() -> set[str]:
        return router.targets()

    @asynccontextmanager
    async def session(one: NamedEndpoint) -> AsyncIterator[None]:
        router.open_sessions[one.name] = 1
        yield
        router.open_sessions[one.name] = 0

    def foresee(failures: dict[str, str]) -> None:
        router.failures = failures

    def refuse() -> None:
        router.refusal = RouterUnavailableError("haproxy said no")

    def down() -> Router:
        other = FakeRouter()
        other.refusal = RouterDownError("haproxy: not found")
        return other

    async def end() -> None:
        router.disrupt("it has ended")

    return RouterUnderTest(router, targets, session, foresee, refuse, down, lambda: router, end)


def of_haproxy(router: HaproxyRouter, settings: HaproxySettings) -> RouterUnderTest:
    async def targets() -> set[str]:
        try:
            found = [await fetch(router.http_address, HOST) for _ in range(_ROUNDS)]
        except aiohttp.ClientError:
            return set()
        return {text for status, text in found if status == 200}

    @asynccontextmanager
    async def session(one: NamedEndpoint) -> AsyncIterator[None]:
        host, _, port = router.http_address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Wait: yes\r\n".encode())
            writer.write(b"Content-Length: 5\r\n\r\n")  # which never comes: the request lasts
            await writer.drain()
            await eventually(
                lambda: router.sessions(BACKEND), lambda found: found.get(one.name) == 1
            )
            yield
        finally:
            writer.close()

    def refuse() -> None:
        program = settings.data_dir / "haproxy"
        program.unlink()
        program.symlink_to(shutil.which("false") or "/bin/false")

    async def end() -> None:
        for pid in await router._cli.ping():
            os.kill(pid, signal.SIGKILL)

    def down() -> Router:
        return HaproxyRouter(replace(settings, data_dir=settings.data_dir / "x", haproxy="none"))

    return RouterUnderTest(
        router,
        targets,
        session,
        lambda _: None,
        refuse,
        down,
        lambda: HaproxyRouter(settings),
        end,
    )


@pytest.fixture(params=["haproxy", "memory"])
async def routed(request: pytest.FixtureRequest) -> AsyncIterator[RouterUnderTest]:
    if request.param == "memory":
        yield in_memory(FakeRouter())
        return
    with haproxy_folder() as folder:
        program = folder / "haproxy"
        program.symlink_to(shutil.which("haproxy") or "")
        settings = HaproxySettings(folder, f"127.0.0.1:{free_port()}", haproxy=str(program))
        router = HaproxyRouter(settings)
        yield of_haproxy(router, settings)
        await router.stop()


def serving(*endpoints: BackendServer) -> RoutingTable:
    return RoutingTable((Backend(BACKEND, endpoints),), (RULE,))


async def test_an_empty_table_is_one(routed: RouterUnderTest) -> None:
    assert await routed.router.apply(RoutingTable()) == {}
    assert await routed.router.sessions("none") == {}
    host, _, port = routed.router.http_address.rpartition(":")
    assert (host, port.isdecimal()) == ("127.0.0.1", True)


async def test_requests_go_where_the_last_table_says(routed: RouterUnderTest) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        assert await routed.router.apply(serving(one.endpoint, two.endpoint)) == {}
        assert await routed.targets() == {"one", "two"}
        assert await routed.router.apply(serving(one.draining, two.endpoint)) == {}
        assert await routed.targets() == {"two"}
        assert await routed.router.apply(serving(one.endpoint)) == {}
        assert await routed.targets() == {"one"}
        assert await routed.router.apply(serving()) == {}
        assert await routed.targets() == set()


async def test_the_same_table_again_changes_nothing(routed: RouterUnderTest) -> None:
    lost = HttpRule("lost", "lost.example", "/", (("nobody", 1),))
    async with named_endpoint("one") as one:
        table = replace(serving(one.endpoint), rules=(RULE, lost))
        first = await routed.router.apply(table)
        assert set(first) == {"lost"}
        assert await routed.router.apply(table) == first
        assert await routed.targets() == {"one"}


async def test_tables_at_once_leave_the_last_one(routed: RouterUnderTest) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        tables = [serving(one.endpoint), serving(one.endpoint, two.endpoint), serving(two.endpoint)]
        assert await asyncio.gather(*(routed.router.apply(table) for table in tables)) == [{}] * 3
        assert await routed.targets() == {"two"}


async def test_what_cannot_be_served_is_named_and_the_rest_is(routed: RouterUnderTest) -> None:
    rules = (
        RULE,
        HttpRule("again", HOST, "", RULE.backends),
        HttpRule("lost", "lost.example", "/", (("nobody", 1),)),
        HttpRule("host", "bad host {", "/", RULE.backends),
        HttpRule("path", HOST, "/a b", RULE.backends),
    )
    async with named_endpoint("one") as one:
        faults = await routed.router.apply(replace(serving(one.endpoint), rules=rules))
        assert set(faults) == {"again", "lost", "host", "path"}
        assert all(faults.values())
        assert await routed.targets() == {"one"}


async def test_a_port_that_somebody_has_is_named_until_it_is_free(routed: RouterUnderTest) -> None:
    port = free_port()
    listener = Listener("taken", "127.0.0.7", port, BACKEND)
    async with named_endpoint("one") as one:
        table = replace(serving(one.endpoint), listeners=(listener,))
        with socket.socket() as other:
            other.bind(("127.0.0.7", port))
            other.listen()
            routed.foresee({"taken": "Address already in use", "elsewhere": "x"})
            assert list(await routed.router.apply(table)) == ["taken"]
            assert await routed.targets() == {"one"}
        routed.foresee({})
        assert await routed.router.apply(table) == {}


async def test_sessions_are_counted_by_endpoint_until_they_end(routed: RouterUnderTest) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        assert await routed.router.sessions(BACKEND) == {"one": 0}
        async with routed.session(one):
            for table in (serving(one.draining, two.endpoint), serving(two.endpoint)):
                await routed.router.apply(table)
                assert (await routed.router.sessions(BACKEND))["one"] == 1
                assert await routed.targets() == {"two"}

        async def left() -> int:
            return (await routed.router.sessions(BACKEND)).get("one", 0)

        await eventually(left, lambda count: count == 0)


async def test_an_endpoint_without_sessions_is_forgotten_with_its_table(
    routed: RouterUnderTest,
) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint, two.endpoint))
        await routed.router.apply(serving(two.endpoint))
        assert await routed.router.sessions(BACKEND) == {"two": 0}


async def test_an_endpoint_with_sessions_is_forgotten_with_the_first_table_after_them(
    routed: RouterUnderTest,
) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        async with routed.session(one):
            await routed.router.apply(serving(two.endpoint))
            assert await routed.router.sessions(BACKEND) == {"one": 1, "two": 0}

        async def after_another_table() -> set[str]:
            await routed.router.apply(serving(two.endpoint))
            return set(await routed.router.sessions(BACKEND))

        await eventually(after_another_table, lambda found: found == {"two"})


async def test_a_table_that_is_refused_leaves_the_old_one(routed: RouterUnderTest) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        routed.refuse()
        rule = HttpRule("other", "other.example", "/", RULE.backends)
        with pytest.raises(RouterUnavailableError) as caught:
            await routed.router.apply(replace(serving(two.endpoint), rules=(RULE, rule)))
        assert not isinstance(caught.value, RouterDownError)
        assert (caught.value.reason, caught.value.retryable) == ("RouterUnavailable", True)
        assert await routed.targets() == {"one"}


async def test_a_router_that_cannot_start_is_down(routed: RouterUnderTest) -> None:
    with pytest.raises(RouterDownError) as caught:
        await routed.down().apply(RoutingTable())
    assert (caught.value.reason, caught.value.retryable) == ("RouterUnavailable", True)


async def test_another_process_finds_what_is_in_force(routed: RouterUnderTest) -> None:
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        again = routed.reopened()
        assert await again.sessions(BACKEND) == {"one": 0}
        assert await routed.targets() == {"one"}
        assert await again.apply(serving(two.endpoint)) == {}
        assert await routed.targets() == {"two"}


async def test_a_router_that_ends_is_told_and_its_last_table_restored(
    routed: RouterUnderTest,
) -> None:
    disruptions = routed.router.disruptions()
    async with named_endpoint("one") as one, named_endpoint("two") as two:
        await routed.router.apply(serving(one.endpoint))
        await routed.router.apply(serving(two.endpoint))
        told = asyncio.ensure_future(anext(disruptions))
        await routed.end()
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await told
        await routed.router.restore()
        assert await routed.targets() == {"two"}


async def test_a_table_that_is_in_force_is_restored_without_a_change(
    routed: RouterUnderTest,
) -> None:
    async with named_endpoint("one") as one:
        await routed.router.apply(serving(one.endpoint))
        async with routed.session(one):
            await routed.router.restore()
            assert await routed.router.sessions(BACKEND) == {"one": 1}


async def test_without_a_table_nothing_is_restored(routed: RouterUnderTest) -> None:
    await routed.router.restore()
    assert await routed.targets() == set()


async def test_a_router_that_cannot_start_cannot_be_restored(routed: RouterUnderTest) -> None:
    down = routed.down()
    with pytest.raises(RouterDownError):
        await down.apply(RoutingTable())
    with pytest.raises(RouterDownError):
        await down.restore()
