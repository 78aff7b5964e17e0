"""A real HAProxy: what it serves, what it refuses, and what it never loses."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.workload.http_servers import (
    ClientLoad,
    NamedEndpoint,
    fetch,
    load,
    named_endpoint,
)
from tests.support.workload.waiting import eventually

from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import (
    Backend,
    BackendServer,
    HttpRule,
    Listener,
    RouterDownError,
    RoutingTable,
)

HOST = "shop.example"
RULE = HttpRule("shop", HOST, "/", (("shop/web:http", 1),))


@pytest.fixture
def settings(folder: Path) -> HaproxySettings:
    return HaproxySettings(folder, f"127.0.0.1:{free_port()}")


@pytest.fixture
async def router(settings: HaproxySettings) -> AsyncIterator[HaproxyRouter]:
    router = HaproxyRouter(settings)
    yield router
    await router.stop()


def backend(*endpoints: BackendServer, name: str = "shop/web:http") -> Backend:
    return Backend(name, endpoints)


def serving(*endpoints: BackendServer) -> RoutingTable:
    return RoutingTable((backend(*endpoints),), (RULE,))


def me() -> str:
    return f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"


async def worker(router: HaproxyRouter) -> int:
    return (await router._cli.workers())[0]


async def test_the_longest_prefix_of_the_host_decides(router: HaproxyRouter) -> None:
    names = ("root", "api", "any", "wild")
    async with AsyncExitStack() as stack:
        sites = {name: await stack.enter_async_context(named_endpoint(name)) for name in names}
        table = RoutingTable(
            tuple(backend(one.endpoint, name=name) for name, one in sites.items()),
            (
                HttpRule("1", HOST, "/", (("root", 1),)),
                HttpRule("2", HOST, "/api", (("api", 1),)),
                HttpRule("3", "*.example", "", (("wild", 1),)),
                HttpRule("4", "", "/any's", (("any", 1),)),
            ),
        )
        assert await router.apply(table) == {}
        address = router.http_address
        assert await fetch(address, HOST) == (200, "root")
        assert await fetch(address, "SHOP.example:8080", "/api/v1") == (200, "api")
        assert await fetch(address, HOST, "/api?x=1") == (200, "api")
        assert await fetch(address, HOST, "/apiary") == (200, "root")
        assert await fetch(address, "other.example", "/any's") == (200, "wild")
        assert await fetch(address, "other.test", "/any's/x") == (200, "any")
        status, text = await fetch(address, "other.test", "/x")
        assert (status, text) == (503, "no Route for host other.test and path /x")


async def test_a_backend_without_endpoints_says_so(router: HaproxyRouter) -> None:
    await router.apply(serving())
    expected = (503, "shop/web:http has no endpoint that is ready")
    assert await fetch(router.http_address, HOST) == expected

    async with named_endpoint() as one:
        await router.apply(serving(one.endpoint))
        assert await fetch(router.http_address, HOST) == (200, one.name)
        await router.apply(serving(one.draining))
        assert await fetch(router.http_address, HOST) == expected


async def test_weights_share_out_and_an_empty_backend_gets_nothing(router: HaproxyRouter) -> None:
    async with named_endpoint("light") as light, named_endpoint("heavy") as heavy:
        rule = HttpRule("split", HOST, "/", (("l", 1), ("h", 3), ("empty", 4), ("none", 0)))
        backends = (
            backend(light.endpoint, name="l"),
            backend(heavy.endpoint, name="h"),
            backend(name="empty"),
            backend(heavy.endpoint, name="none"),
        )
        await router.apply(RoutingTable(backends, (rule,)))
        answers = [await fetch(router.http_address, HOST) for _ in range(120)]
        count = answers.count((200, "light"))
        assert 0 < count < 60, "an eighth, and its part of the half that has no endpoint"
        assert answers.count((200, "heavy")) == 120 - count


async def test_what_cannot_be_served_is_named_and_the_rest_is(router: HaproxyRouter) -> None:
    port = free_port()
    async with named_endpoint() as one:
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.7", port))
            squatter.listen()
            table = RoutingTable(
                (backend(one.endpoint),),
                (
                    RULE,
                    HttpRule("again", HOST, "", RULE.backends),
                    HttpRule("lost", "lost.example", "/", (("nobody", 1),)),
                    HttpRule("odd", "bad host {", "/", RULE.backends),
                    HttpRule("path", HOST, "/a b", RULE.backends),
                ),
                (
                    Listener("taken", "127.0.0.7", port, "shop/web:http"),
                    Listener("free", "127.0.0.8", port, "shop/web:http"),
                    Listener("foreign", "192.0.2.200", port, "shop/web:http"),
                ),
            )
            faults = await router.apply(table)
            assert set(faults) == {"again", "lost", "odd", "path", "taken", "foreign"}
            assert "in use" in faults["taken"]
            assert faults["lost"] == "there is no backend nobody"
            assert faults["again"] == "shop has it already"
            assert await fetch(router.http_address, HOST) == (200, one.name)
            assert await fetch(f"127.0.0.8:{port}", "any") == (200, one.name)

        assert "taken" not in await router.apply(table), "the port is free now"
        assert await fetch(f"127.0.0.7:{port}", "any") == (200, one.name)


EVERYWHERE = "0.0.0.0"


@pytest.mark.parametrize("places", [("127.0.0.7", EVERYWHERE), (EVERYWHERE, "127.0.0.7")])
async def test_a_host_port_may_be_that_of_a_service(
    router: HaproxyRouter, places: tuple[str, str]
) -> None:
    port = free_port()
    async with named_endpoint("service") as service, named_endpoint("host") as host:
        backends = tuple(backend(one.endpoint, name=one.name) for one in (service, host))
        names = {"127.0.0.7": service.name, EVERYWHERE: host.name}
        listeners = tuple(Listener(names[at], at, port, names[at]) for at in places)
        for present in (listeners[:1], listeners):
            assert await router.apply(RoutingTable(backends, (), present)) == {}
        assert await fetch(f"127.0.0.7:{port}", "any") == (200, service.name)
        assert await fetch(f"127.0.0.8:{port}", "any") == (200, host.name)


async def test_a_listener_may_change_hands(router: HaproxyRouter) -> None:
    port = free_port()
    async with named_endpoint("old") as old, named_endpoint("new") as new:
        for name, one in (("first", old), ("second", new)):
            listener = Listener(name, "127.0.0.7", port, name)
            table = RoutingTable((backend(one.endpoint, name=name),), (), (listener,))
            assert await router.apply(table) == {}
            assert await fetch(f"127.0.0.7:{port}", "any") == (200, one.name)


async def test_no_request_is_lost_while_endpoints_are_replaced(router: HaproxyRouter) -> None:
    replacements = 60
    async with AsyncExitStack() as first:
        stack = first
        current = await stack.enter_async_context(named_endpoint())
        await router.apply(serving(current.endpoint))
        before = await worker(router)
        async with load(f"http://{router.http_address}/", HOST) as seen:
            for _ in range(replacements):
                successor_stack = AsyncExitStack()
                successor = await successor_stack.enter_async_context(named_endpoint())
                await router.apply(serving(successor.endpoint, current.draining))
                await drain(router, current)
                await stack.aclose()
                await router.apply(serving(successor.endpoint))
                stack, current = successor_stack, successor
            await eventually(seen.names, lambda names: current.name in names)
        await stack.aclose()
    assert seen.failures == []
    assert len(seen.answers) > replacements / 2
    assert await worker(router) == before, "no reload was needed"


async def drain(router: HaproxyRouter, one: NamedEndpoint) -> None:
    await eventually(
        lambda: router.sessions("shop/web:http"), lambda open_: not open_.get(one.name)
    )


async def more_answers(seen: ClientLoad) -> None:
    before = await seen.answered()
    await eventually(seen.answered, lambda now: now > before + 10)


async def test_no_request_is_lost_while_rules_change(router: HaproxyRouter) -> None:
    async with named_endpoint() as one:
        table = serving(one.endpoint)
        await router.apply(table)
        async with load(f"http://{router.http_address}/", HOST) as seen:
            for number in range(10):
                extra = HttpRule("extra", f"host-{number}.example", "/", RULE.backends)
                before = await worker(router)
                await router.apply(RoutingTable(table.backends, (RULE, extra)))
                assert await worker(router) != before, "this one was reloaded"
                assert await fetch(router.http_address, extra.host) == (200, one.name)
                await more_answers(seen)
    assert seen.failures == []


async def test_no_request_is_lost_to_a_server_that_closes_idle_connections(
    router: HaproxyRouter,
) -> None:
    async with named_endpoint(patience=0.002) as one:
        await router.apply(serving(one.endpoint))
        async with load(f"http://{router.http_address}/", HOST) as seen:
            await eventually(seen.answered, lambda count: count > 500)
    assert seen.failures == []


async def test_an_open_session_ends_by_itself(router: HaproxyRouter) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    old = NamedEndpoint("old", server.sockets[0].getsockname()[1])
    listener = Listener("tcp", "127.0.0.7", free_port(), "db")

    def table(*endpoints: BackendServer, rules: tuple[HttpRule, ...] = ()) -> RoutingTable:
        return RoutingTable((backend(*endpoints, name="db"),), rules, (listener,))

    async with server, named_endpoint() as new:
        await router.apply(table(old.endpoint))
        reader, writer = await asyncio.open_connection(listener.address, listener.port)
        rule = HttpRule("r", HOST, "/", (("db", 1),))
        for step, stage in enumerate(
            (
                table(new.endpoint, old.draining),
                table(new.endpoint),
                table(new.endpoint, old.draining, rules=(rule,)),
                table(new.endpoint, rules=(rule,)),
            )
        ):
            await router.apply(stage)
            writer.write(b"%d\n" % step)
            assert await reader.readline() == b"%d\n" % step
            assert (await router.sessions("db"))["old"] == 1
            assert await fetch(f"{listener.address}:{listener.port}", "any") == (200, new.name)
        writer.close()
        await eventually(lambda: router.sessions("db"), lambda now: not now.get("old"))


async def test_the_same_table_again_changes_nothing(
    router: HaproxyRouter, settings: HaproxySettings
) -> None:
    async with named_endpoint() as one:
        await router.apply(serving(one.endpoint))
        before = await worker(router), (settings.data_dir / "haproxy.cfg").read_text()
        await router.apply(serving(one.endpoint))
        after = await worker(router), (settings.data_dir / "haproxy.cfg").read_text()
        assert before == after


async def test_an_endpoint_may_move(router: HaproxyRouter) -> None:
    async with named_endpoint("a") as first, named_endpoint("b") as second:
        for port, name in ((first.port, "a"), (second.port, "b")):
            await router.apply(serving(BackendServer("web-1", "127.0.0.1", port)))
            assert await fetch(router.http_address, HOST) == (200, name)


async def test_a_dead_haproxy_is_replaced(router: HaproxyRouter) -> None:
    async with named_endpoint() as one:
        await router.apply(serving(one.endpoint))
        for pid in await router._cli.ping():
            os.kill(pid, signal.SIGKILL)
        await eventually(router._cli.master, lambda master: master is None)
        # What was killed keeps its port for a moment.
        table = serving(one.endpoint)
        await eventually(lambda: router.apply(table), lambda faults: not faults)
        assert await fetch(router.http_address, HOST) == (200, one.name)


async def test_a_taken_http_port_is_named_and_keeps_nothing_else_from_being_served(
    router: HaproxyRouter, settings: HaproxySettings
) -> None:
    port = free_port()
    async with named_endpoint() as one:
        listener = Listener("svc", "127.0.0.7", port, RULE.backends[0][0])
        table = RoutingTable((backend(one.endpoint),), (RULE,), (listener,))
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", int(settings.http_address.rpartition(":")[2])))
            squatter.listen()
            for _ in range(2):
                faults = await router.apply(table)
                assert faults == {
                    "shop": f"{settings.http_address}: Address already in use by {me()};"
                    " stop what listens there, or choose another --router"
                }
            assert await fetch(f"127.0.0.7:{port}", "any") == (200, one.name)
        assert await router.apply(table) == {}
        assert await fetch(router.http_address, HOST) == (200, one.name)


async def test_a_router_that_cannot_be_started_is_down(settings: HaproxySettings) -> None:
    missing = HaproxyRouter(replace(settings, haproxy="/nowhere/haproxy"))
    with pytest.raises(RouterDownError, match="apt install haproxy"):
        await missing.apply(RoutingTable())


async def test_it_serves_on_when_its_parent_is_killed(
    router: HaproxyRouter, settings: HaproxySettings
) -> None:
    async with named_endpoint() as one:
        program = f"""
            import asyncio, sys
            from pathlib import Path
            from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
            from upwell.router.interface import *

            async def main():
                folder, address = Path({str(settings.data_dir)!r}), {router.http_address!r}
                router = HaproxyRouter(HaproxySettings(folder, address))
                server = BackendServer({one.name!r}, "127.0.0.1", {one.port})
                rule = HttpRule("shop", {HOST!r}, "/", (("shop/web:http", 1),))
                await router.apply(RoutingTable((Backend("shop/web:http", (server,)),), (rule,)))
                print("applied", flush=True)
                await asyncio.sleep(60)

            asyncio.run(main())
        """
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(program), stdout=subprocess.PIPE
        )
        try:
            assert parent.stdout is not None
            assert await parent.stdout.readline() == b"applied\n"
            before = await worker(router)
            async with load(f"http://{router.http_address}/", HOST, clients=2) as seen:
                parent.kill()
                await parent.wait()
                await router.apply(serving(one.endpoint))
                await more_answers(seen)
        finally:
            with suppress(ProcessLookupError):
                parent.kill()
            await parent.wait()
        assert seen.failures == []
        assert await worker(router) == before, "taken over, not started anew"
