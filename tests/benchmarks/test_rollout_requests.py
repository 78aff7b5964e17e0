"""Requests lost while containers are replaced behind the router, and what each step costs.

Run with `pytest -m benchmark -s tests/benchmarks/test_rollout_requests.py`.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.ports import free_port
from tests.support.workload.http_servers import load
from tests.support.workload.podman_home import PodmanHome, Workload, podman_home_in
from tests.support.workload.waiting import eventually

from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.router.interface import Backend, BackendServer, HttpRule, RoutingTable
from upwell.workload.instance_spec import HttpProbe, ProbeSpec
from upwell.workload.interface import Instance
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

pytestmark = pytest.mark.benchmark

HOST = "shop.example"
REPLACEMENTS = 20
SITE = """
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho; echo $HOSTNAME\\n' > /www/cgi-bin/name
busybox chmod +x /www/cgi-bin/name
exec httpd -f -p 8080 -h /www
"""


@dataclass
class Costs:
    """Milliseconds by step."""

    steps: dict[str, list[float]] = field(default_factory=dict)

    async def measure[T](self, step: str, work: Awaitable[T]) -> T:
        start = time.perf_counter()
        result = await work
        self.steps.setdefault(step, []).append((time.perf_counter() - start) * 1000)
        return result

    def median(self, step: str) -> float:
        """Return the milliseconds of a step."""
        return statistics.median(self.steps[step])

    def __str__(self) -> str:
        return "\n".join(
            f"{step:>16}: median {statistics.median(times):7.1f} ms, worst {max(times):7.1f} ms"
            for step, times in self.steps.items()
        )


@pytest.fixture(scope="module")
def home() -> Iterator[PodmanHome]:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is missing: apt install haproxy")
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-benchmark-"))) as made:
        yield made


@asynccontextmanager
async def running(home: PodmanHome) -> AsyncIterator[tuple[PodmanRuntime, HaproxyRouter]]:
    settings = PodmanSettings(
        data_dir=home.root / "instances",
        instance_id="benchmark",
        storage_root=home.root / "storage",
        run_root=home.root / "run",
        containers_conf=home.conf,
    )
    router = HaproxyRouter(HaproxySettings(home.root / "router", f"127.0.0.1:{free_port()}"))
    async with PodmanRuntime.open(settings) as runtime:
        try:
            yield runtime, router
        finally:
            await router.stop()
            await runtime.teardown()


def table(*instances: Instance, draining: Instance | None = None) -> RoutingTable:
    endpoints = [BackendServer(one.name, one.address, 8080, one is draining) for one in instances]
    rule = HttpRule("shop", HOST, "/", (("web", 1),))
    return RoutingTable((Backend("web", tuple(endpoints)),), (rule,))


async def test_replace_containers_under_load(home: PodmanHome, ratios: Ratios) -> None:
    workload, costs = Workload(home.image), Costs()
    probe = ProbeSpec(HttpProbe(8080, "/cgi-bin/name"), period=1)
    container = replace(workload.container("sh", "-c", SITE), readiness=probe)

    async with running(home) as (runtime, router):

        async def launch(number: int) -> Instance:
            spec = workload.spec(container, name=f"web-{number}")
            await costs.measure("start container", runtime.start(replace(spec, hostname=spec.name)))
            seen = await costs.measure("until ready", eventually(listed, ready(spec.name)))
            return next(one for one in seen if one.name == spec.name)

        async def listed() -> list[Instance]:
            return list(await costs.measure("list instances", runtime.instances()))

        current = await launch(0)
        await router.apply(table(current))
        async with load(f"http://{router.http_address}/cgi-bin/name", HOST, clients=4) as seen:
            for number in range(1, REPLACEMENTS + 1):
                successor = await launch(number)
                both = table(successor, current, draining=current)
                await costs.measure("swap endpoint", router.apply(both))
                await costs.measure("drain", drained(router, current.name))
                await costs.measure("stop container", runtime.stop(current.name, 0))
                await costs.measure("drop endpoint", router.apply(table(successor)))
                current = successor
    print(f"\n{await seen.answered()} requests, {len(seen.failures)} lost\n{costs}")  # noqa: T201 - the result
    routed = sum(costs.median(step) for step in ("swap endpoint", "drain", "drop endpoint"))
    replaced = costs.median("start container") + costs.median("stop container")
    ratios.note_cost("replacement, time in the router of that in Podman", routed / replaced)
    assert seen.failures == []


def ready(name: str) -> Callable[[list[Instance]], bool]:
    return lambda instances: any(one.name == name and one.ready for one in instances)


async def drained(router: HaproxyRouter, name: str) -> None:
    await eventually(lambda: router.sessions("web"), lambda now: not now.get(name))
