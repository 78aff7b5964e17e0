"""HAProxy of a running installation is killed, robbed and moved: mended, and told by everybody."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
from tests.support.delivery.http_receiver import HttpReceiver, receiving
from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish

from upwell.api.cluster_operator import ClusterOperator, OperatorFault
from upwell.api.core import Event
from upwell.api.meta import Condition
from upwell.router.haproxy.processes import HaproxyProcesses
from upwell.store.interface import ApiClient

HOST, SITE = "web.test", "web 1"
DOCKERFILE = (
    "FROM base:1\n"
    'RUN mkdir -p /www && echo "web $(cat /etc/base-version)" > /www/index.html\n'
    'CMD ["serve"]\n'
)
TELLING = """
apiVersion: upwell.dev/v1alpha1
kind: Subscription
metadata: {{name: pager}}
spec:
  webhook: {{url: "{url}"}}
  filter: {{types: ["dev.upwell.component.*"]}}
---
"""


async def until_unready(made: Installation, why: str) -> None:
    """Wait until `/readyz` says that the server is not ready, and why; that may pass soon."""

    async def asked() -> str:
        async with session.get(f"{made.url}/readyz") as answered:
            return "" if answered.status == 200 else await answered.text()

    async with aiohttp.ClientSession() as session:
        await until(asked, lambda text: why in text, closely=True)


async def haproxy(made: Installation) -> Sequence[int]:
    processes = HaproxyProcesses(made.data_dir / "router" / "haproxy.cfg", "")
    return [one.pid for one in await processes.find()]


async def kill_haproxy(made: Installation) -> None:
    for pid in await haproxy(made):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def metrics(made: Installation) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {made.token}"}
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
        session.get(f"{made.url}/metrics") as answered,
    ):
        lines = (await answered.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def serve_one(made: Installation, client: ApiClient) -> None:
    """Build and publish an application, and wait until it serves."""
    await publish(made.vendor, "vendor/base:1", "1")
    await made.apply(
        client,
        base_stream(made.vendor)
        + stream("web")
        + docker_build("web", dockerfile=DOCKERFILE)
        + deployment("web")
        + published("web"),
    )
    await until(lambda: answer(made.router_port, HOST), SITE.__eq__)


def notices(receiver: HttpReceiver, component: str) -> list[str]:
    """Return the types of the notices about a component: a busy machine has other faults."""
    events = [json.loads(one.body) for one in receiver.arrived]
    return [one["type"] for one in events if one["data"]["component"] == component]


async def test_a_killed_router_serves_again_and_everybody_was_told(
    made: Installation, client: ApiClient
) -> None:
    async def faults() -> tuple[OperatorFault, ...]:
        router = await client.get(ClusterOperator, "", "router")
        return router.status.extension.faults

    async def reasons() -> set[str]:
        events = (await client.list(Event)).items
        return {one.reason for one in events if one.involved_object.kind == "ClusterOperator"}

    async with receiving(port=made.spare_port()) as receiver:
        await made.apply(client, TELLING.format(url=receiver.url))
        await serve_one(made, client)
        assert await faults() == ()
        assert made.upwell("status", "-o", "json").returncode == 0

        async with traffic(made.router_port, [HOST]) as seen, asyncio.TaskGroup() as group:
            group.create_task(until_unready(made, "router: haproxy "))
            began = time.monotonic()
            await kill_haproxy(made)
            await until(faults, lambda found: bool(found) and found[-1].until is not None)
            served = seen[HOST].answers.total()
            await until(lambda: _total(seen[HOST].answers), lambda total: total > served + 20)
            took = time.monotonic() - began
        assert took < 60, "of a machine that is busy; alone it takes less than a second"

        (fault,) = await faults()
        assert fault.reason == "RouterDown"
        assert (await metrics(made))['upwell_component_restarts_total{component="router"}'] == 1
        await until(reasons, {"ComponentDegraded", "ComponentRecovered"}.__eq__)
        await receiver.until(lambda one: len(notices(one, "router")) > 1)
        assert notices(receiver, "router") == [
            "dev.upwell.component.degraded",
            "dev.upwell.component.recovered",
        ]
        explained = made.upwell("explain", "co/router").stdout
        assert "it was faulty: RouterDown: haproxy has ended" in explained


async def test_a_router_whose_port_is_stolen_is_a_fault_until_it_has_it_again(
    made: Installation, client: ApiClient
) -> None:
    async def fault() -> Condition | None:
        return (await client.get(ClusterOperator, "", "router")).fault

    await serve_one(made, client)
    with await stolen(made):
        found = await until(fault, lambda seen: _reason(seen) == "AddressInUse")
        assert found is not None
        assert f"by process {os.getpid()} (" in found.message
        await until_unready(made, "Address already in use")
        assert (await metrics(made))['upwell_component_up{component="router"}'] == 0
        status = made.upwell("status").stdout.splitlines()
        assert status[0].startswith(f"! component router: 127.0.0.1:{made.router_port}: ")
        data = json.loads(made.upwell("status", "-o", "json").stdout)
        assert data["summary"]["faults"] > 0
        assert "False" in made.upwell("get", "clusteroperators").stdout
    await until(lambda: answer(made.router_port, HOST), SITE.__eq__)
    await until(fault, lambda seen: seen is None)


async def stolen(made: Installation) -> socket.socket:
    """Kill HAProxy and be the first at its port."""

    async def taken() -> socket.socket | None:
        await kill_haproxy(made)
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            thief.bind(("127.0.0.1", made.router_port))
        except OSError:
            thief.close()
            return None
        thief.listen()
        return thief

    found = await until(taken, lambda one: one is not None)
    assert found is not None
    return found


async def test_a_data_folder_that_was_moved_gets_its_router_back(
    made: Installation, client: ApiClient
) -> None:
    await serve_one(made, client)
    made.stop()
    moved = replace(made, data_name="moved")
    before = await haproxy(made)
    made.data_dir.rename(moved.data_dir)
    try:
        await moved.start()
        await until(lambda: haproxy(moved), lambda found: len(found) == 2)
        await until(lambda: answer(made.router_port, HOST), SITE.__eq__)
        assert set(before).isdisjoint(await haproxy(moved))
        await publish(made.vendor, "vendor/base:1", "2")
        await until(lambda: answer(made.router_port, HOST), "web 2".__eq__)
    finally:
        moved.stop()
        moved.data_dir.rename(made.data_dir)


def _reason(condition: Condition | None) -> str:
    return condition.reason if condition is not None else ""


async def _total(answers: Any) -> int:
    return int(answers.total())
