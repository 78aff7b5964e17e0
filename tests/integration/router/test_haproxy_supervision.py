"""A real HAProxy that is killed, stopped, cut off or robbed, and the supervision that mends it."""

import asyncio
import errno
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.rollouts.memory_machine import FakeRuntime, MemoryClock
from tests.support.router.haproxy_folder import haproxy_folder, running_from
from tests.support.workload.http_servers import (
    NamedEndpoint,
    fetch,
    load,
    named_endpoint,
)
from tests.support.workload.waiting import eventually

from upwell.controller import ObjectCache
from upwell.machine.components import ComponentFault, Components, WatchedComponent
from upwell.reconcilers.rollouts import RolloutPorts, Traffic
from upwell.reconcilers.routing.supervision import router_supervision_controller
from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings, RouterLimits
from upwell.router.interface import (
    Backend,
    HttpRule,
    Listener,
    RouterUnavailableError,
    RoutingTable,
)
from upwell.store.memory import MemoryStore

HOST = "shop.example"
BACKEND = "shop/web:http"
RULE = HttpRule("shop", HOST, "/", ((BACKEND, 1),))
_NOTICED_SECONDS, _UP_SECONDS = 2.0, 5.0
_SLACK = 4
"""Times are measured on an idle machine; a busy one may take so many times as long."""


@dataclass
class SupervisedSite:
    """A router that serves one endpoint, as a server supervises it."""

    router: HaproxyRouter
    component: WatchedComponent
    site: NamedEndpoint

    async def master(self) -> int:
        return (await self.router._cli.ping())[0]

    async def worker(self) -> int:
        return (await self.router._cli.ping())[1]

    async def is_served(self) -> bool:
        try:
            async with asyncio.timeout(1):
                return await fetch(self.router.http_address, HOST) == (200, self.site.name)
        except (OSError, TimeoutError):
            return False

    async def mended(self) -> ComponentFault:
        """Wait for a fault that has ended, and return it."""

        async def faults() -> tuple[ComponentFault, ...]:
            return self.component.state.faults

        found = await eventually(faults, lambda seen: bool(seen) and seen[-1].until is not None)
        await eventually(self.is_served, bool)
        return found[-1]


@pytest.fixture
def settings(folder: Path) -> HaproxySettings:
    address = f"127.0.0.1:{free_port()}"
    return HaproxySettings(folder / "router", address, installation=folder.name)


@asynccontextmanager
async def supervised(
    settings: HaproxySettings, *listeners: Listener
) -> AsyncIterator[SupervisedSite]:
    """Supervise a router until the block ends; the router stays."""
    component = Components().add("router")
    router = HaproxyRouter(settings, component)
    clock = MemoryClock()
    machine = RolloutPorts(FakeRuntime(clock), router, Traffic(clock))
    controller = router_supervision_controller(ObjectCache(MemoryStore(clock)), machine)
    async with named_endpoint() as site:
        await router.apply(
            RoutingTable((Backend(BACKEND, (site.endpoint,)),), (RULE,), tuple(listeners))
        )
        running = asyncio.create_task(controller.run())
        try:
            yield SupervisedSite(router, component, site)
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.fixture
async def served(settings: HaproxySettings) -> AsyncIterator[SupervisedSite]:
    async with supervised(settings) as one:
        yield one
    await one.router.stop()


async def assert_mended_in_time(served: SupervisedSite) -> ComponentFault:
    clock = asyncio.get_running_loop().time
    began = clock()
    fault = await served.mended()
    assert clock() - began < _UP_SECONDS * _SLACK
    return fault


@pytest.mark.parametrize("victims", [("worker",), ("master",), ("worker", "master")])
async def test_what_was_killed_is_started_again(
    served: SupervisedSite, victims: tuple[str, ...]
) -> None:
    pids = [await getattr(served, victim)() for victim in victims]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    fault = await assert_mended_in_time(served)
    assert (fault.reason, fault.message) == (
        "RouterDown",
        "haproxy has ended; it is started again",
    )
    assert served.component.state.restarts == 1
    assert not served.component.state.faulty


@pytest.mark.parametrize("victim", ["worker", "master"])
async def test_what_was_stopped_is_continued_without_losing_a_request(
    served: SupervisedSite, victim: str
) -> None:
    before = await served.router._cli.ping()
    async with load(f"http://{served.router.http_address}/", HOST) as seen:
        await eventually(seen.answered, lambda count: count > 20)
        os.kill(await getattr(served, victim)(), signal.SIGSTOP)
        fault = await assert_mended_in_time(served)
    assert seen.failures == []
    assert fault.reason == "RouterStopped"
    assert await served.router._cli.ping() == before
    assert served.component.state.restarts == 0


async def test_a_router_without_its_control_socket_is_replaced_without_losing_a_request(
    served: SupervisedSite, settings: HaproxySettings
) -> None:
    before = await served.router._cli.ping()
    async with load(f"http://{served.router.http_address}/", HOST) as seen:
        await eventually(seen.answered, lambda count: count > 20)
        (settings.data_dir / "haproxy.sock").unlink()
        fault = await assert_mended_in_time(served)
        count = await seen.answered()
        await eventually(seen.answered, lambda later: later > count + 20)
    assert seen.failures == []
    assert fault.reason == "RouterUnreachable"
    after = await served.router._cli.ping()
    assert set(before).isdisjoint(after)

    async def others() -> set[int]:
        return {one.pid for one in await served.router._processes.find()} - set(after)

    await eventually(others, lambda found: not found)


async def test_a_port_that_was_taken_meanwhile_is_named_and_served_once_it_is_free(
    served: SupervisedSite, settings: HaproxySettings
) -> None:
    host, _, port = settings.http_address.rpartition(":")
    await served.router.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((host, int(port)))
        thief.listen()
        await served.router.restore()
        state = served.component.state
        assert state.reason == "AddressInUse"
        assert f"Address already in use by process {os.getpid()} (" in state.message
        assert "--router" in state.message
    fault = await assert_mended_in_time(served)
    assert fault.reason == "AddressInUse"


async def test_a_missing_haproxy_is_tried_again_until_it_is_there(
    folder: Path, settings: HaproxySettings
) -> None:
    program = folder / "haproxy"
    program.symlink_to(shutil.which("haproxy") or "")
    async with supervised(replace(settings, haproxy=str(program))) as served:
        hidden = program.rename(folder / "hidden")
        os.kill(await served.master(), signal.SIGKILL)

        async def message() -> str:
            return served.component.state.message

        await eventually(message, lambda text: "apt install haproxy" in text)
        assert served.component.state.reason == "RouterDown"
        hidden.rename(program)
        await assert_mended_in_time(served)
        await served.router.stop()


async def test_a_router_without_its_folder_gets_it_again(
    served: SupervisedSite, settings: HaproxySettings
) -> None:
    async with load(f"http://{served.router.http_address}/", HOST) as seen:
        await eventually(seen.answered, lambda count: count > 20)
        shutil.rmtree(settings.data_dir)
        await assert_mended_in_time(served)
    assert seen.failures == []
    assert "haproxy.cfg" in {path.name for path in settings.data_dir.iterdir()}


async def test_a_full_disk_keeps_no_router_down(
    served: SupervisedSite, settings: HaproxySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    async with named_endpoint("second") as second:
        monkeypatch.setattr(Path, "write_text", refuse)
        both = (served.site.endpoint, second.endpoint)
        await served.router.apply(RoutingTable((Backend(BACKEND, both),), (RULE,)))
        os.kill(await served.worker(), signal.SIGKILL)
        await assert_mended_in_time(served)
        assert "second" not in (settings.data_dir / "haproxy.cfg").read_text()
        found = {await fetch(served.router.http_address, HOST) for _ in range(4)}
        assert found == {(200, served.site.name), (200, "second")}
        rule = HttpRule("other", "other.example", "/", RULE.backends)
        with pytest.raises(RouterUnavailableError, match=r"haproxy\.cfg: No space left on device"):
            await served.router.apply(RoutingTable((Backend(BACKEND, both),), (RULE, rule)))


async def test_one_that_ends_again_and_again_is_one_fault_until_it_stays_up(
    settings: HaproxySettings,
) -> None:
    async with supervised(replace(settings, limits=RouterLimits(steady_seconds=2))) as served:

        async def restarts() -> int:
            return served.component.state.restarts

        async def reason() -> str:
            return served.component.state.reason

        for number in range(1, 7):
            await eventually(served.is_served, bool)
            processes = served.router._processes
            processes.signal(await processes.find(), signal.SIGKILL)
            await eventually(restarts, lambda count, wanted=number: count >= wanted)  # type: ignore[misc]
        await eventually(reason, lambda found: found == "RouterUnsteady")
        fault = await assert_mended_in_time(served)
        assert fault == served.component.state.faults[-1]
        assert len(served.component.state.faults) <= 4
        await served.router.stop()


async def test_one_that_a_new_table_started_again_is_well_once_it_stays_up(
    settings: HaproxySettings,
) -> None:
    """Case of a table that came before the watch noticed the end: nobody else looks again."""
    component = Components().add("router")
    router = HaproxyRouter(replace(settings, limits=RouterLimits(steady_seconds=1)), component)
    async with named_endpoint("only") as site:
        table = RoutingTable((Backend(BACKEND, (site.endpoint,)),), (RULE,))
        await router.apply(table)
        for number in range(1, 5):
            await router._processes.end(await router._processes.find())
            await router.apply(table)
            assert len(component.state.faults) == number, "each end is told, whoever noticed it"
        assert component.state.reason == "RouterUnsteady"

        async with asyncio.timeout(60):
            await anext(router.disruptions())
        assert await router.restore()
        assert not component.state.faulty
        await router.stop()


async def test_one_that_does_not_answer_is_killed_and_started_anew(
    served: SupervisedSite, settings: HaproxySettings
) -> None:
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        await ended.wait()
        writer.close()

    before = await served.router._cli.ping()
    control = settings.data_dir / "haproxy.sock"
    control.unlink()
    silent = await asyncio.start_unix_server(say_nothing, control)
    fault = await assert_mended_in_time(served)
    silent.close()
    ended.set()
    await silent.wait_closed()
    assert fault.reason == "RouterHung"
    assert set(before).isdisjoint(await served.router._cli.ping())
    assert served.component.state.restarts == 1


async def test_a_router_that_works_is_left_alone(
    served: SupervisedSite,
) -> None:
    """Reloads and new tables disturb nobody: no fault is reported, nothing is started."""
    before = await served.master()
    for number in range(12):
        rules = (RULE, HttpRule(f"rule-{number}", f"host-{number}.example", "/", RULE.backends))
        table = RoutingTable((Backend(BACKEND, (served.site.endpoint,)),), rules)
        assert await served.router.apply(table) == {}
    assert served.component.state.faults == ()
    assert await served.master() == before


async def test_workers_that_drain_do_not_pile_up(settings: HaproxySettings) -> None:
    limited = replace(settings, limits=RouterLimits(max_reloads=3))
    async with supervised(limited) as served:
        host, _, port = settings.http_address.rpartition(":")

        async def workers() -> int:
            return len(await served.router._cli.workers())

        with ExitStack() as clients:
            for number in range(8):  # each worker has a client that never goes
                _, writer = await asyncio.open_connection(host, int(port))
                clients.callback(writer.close)
                head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
                rule = HttpRule(f"rule-{number}", f"host-{number}.example", "/", RULE.backends)
                await served.router.apply(
                    RoutingTable((Backend(BACKEND, (served.site.endpoint,)),), (RULE, rule))
                )
            await eventually(workers, lambda count: count <= 5)
        await served.router.stop()
        assert list(await served.router._processes.find()) == []


async def test_a_router_whose_folder_was_moved_hands_over_to_that_of_the_new_place(
    folder: Path, settings: HaproxySettings
) -> None:
    async with supervised(settings) as served:
        before = await served.router._cli.ping()
    moved = replace(settings, data_dir=settings.data_dir.rename(folder / "moved"))
    async with supervised(moved) as served:
        assert await served.is_served()
        assert served.component.state.faults == ()
        after = {one.pid for one in await served.router._processes.find()}
        assert set(await served.router._cli.ping()) <= after

        async def left() -> set[int]:
            return {one.pid for one in await served.router._processes.find()} & set(before)

        await eventually(left, lambda found: not found)
        await served.router.stop()


async def test_a_copy_of_the_folder_leaves_the_router_of_the_original_alone(
    folder: Path, settings: HaproxySettings
) -> None:
    async with supervised(settings) as original:
        copy = replace(
            settings,
            data_dir=Path(
                shutil.copytree(
                    settings.data_dir, folder / "copy", ignore=shutil.ignore_patterns("*.sock")
                )
            ),
        )
        async with supervised(copy) as other:
            state = other.component.state
            assert state.reason == "AddressInUse"
            assert "(haproxy)" in state.message
            await other.router.stop()
        assert await original.is_served()
        assert original.component.state.faults == ()
        await original.router.stop()


async def test_a_stopped_router_that_an_earlier_server_left_is_replaced(
    settings: HaproxySettings,
) -> None:
    async with supervised(settings) as served:
        pids = await served.router._cli.ping()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    async with supervised(settings) as served:
        await eventually(served.is_served, bool)
        assert set(await served.router._cli.ping()).isdisjoint(pids)
        await served.router.stop()


async def test_no_router_outlives_the_folder_of_its_test() -> None:
    """Case of a test that fails before it stops what it has started."""
    with suppress(AssertionError), haproxy_folder() as path:
        settings = HaproxySettings(path / "router", f"127.0.0.1:{free_port()}")
        async with supervised(settings) as served:
            pids = await served.router._cli.ping()
            os.kill(pids[0], signal.SIGSTOP)
            assert set(pids) <= set(running_from(path))
        raise AssertionError
    assert running_from(path) == []
    assert not path.exists()


async def test_stop_ends_a_router_that_is_stopped_or_has_lost_its_socket(
    settings: HaproxySettings,
) -> None:
    for harm in ("stop", "unlink"):
        router = HaproxyRouter(settings)
        await router.apply(RoutingTable())
        if harm == "stop":
            os.kill((await router._cli.ping())[0], signal.SIGSTOP)
        else:
            (settings.data_dir / "haproxy.sock").unlink()
        await HaproxyRouter(settings).stop()
        assert list(await router._processes.find()) == []
