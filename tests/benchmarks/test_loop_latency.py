"""Latency that Upwell adds between a push and the start of a build; requests that rollouts lose.

Beside each way, a bare server of Python answers as often: what it takes is the machine's part.

Run with `pytest -m benchmark -s tests/benchmarks/test_loop_latency.py`.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
from tests.support.benchmarks.bare_work import bare_answers, percentile_99
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.base_images import serve_registry
from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish
from tests.support.registry.docker_registry import push_image

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.image import ImageStream
from upwell.store.interface import ApiClient, Change

pytestmark = pytest.mark.benchmark

PUSHES = 40
BARE_ANSWERS, BARE_PAUSE_SECONDS = 200, 0.02
CHECKED, TAGS = 100, 10
"""Streams, and scheduled tags of each, that are checked all the time beside webhooks."""
CHECK_SECONDS = 10
ROLLOUTS = 10
SITE = "mkdir /www && cp /etc/base-version /www/index.html && exec serve"
_DOCKERFILE = "FROM base:1\nLABEL made=again\n"
_EVERY = f"{{upwell.dev/import-interval: {CHECK_SECONDS}s}}"


@dataclass
class Latencies:
    """Milliseconds from a push to the Build that follows, and the part that is Upwell's own."""

    title: str
    whole: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    """Milliseconds of a bare server's answers, right after."""

    def note(self, ratios: Ratios) -> None:
        """Note Upwell's own part as one of bare answers."""
        half = statistics.median(self.own) / statistics.median(self.bare)
        most = percentile_99(self.own) / percentile_99(self.bare)
        ratios.note_cost(f"push to build, {self.title}, p50 of bare answers", half)
        ratios.note_cost(f"push to build, {self.title}, p99 of bare answers", most)

    def __str__(self) -> str:
        return f"{self.title:<32} {_row(self.whole)}   {_row(self.own)}"


def _row(times: list[float]) -> str:
    return f"{statistics.median(times):7.0f} {percentile_99(times):7.0f}"


class Started:
    """Times at which a watch first saw each Build."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def watch(self, client: ApiClient) -> None:
        async for event in client.watch(Build):
            if event.change is Change.ADDED:
                self.at.setdefault(event.resource.name, time.time())


@asynccontextmanager
async def started_builds(client: ApiClient) -> AsyncIterator[Started]:
    seen = Started()
    task = asyncio.create_task(seen.watch(client))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


async def measure(
    title: str,
    client: ApiClient,
    push: Callable[[str], Awaitable[object]],
    noticed: Callable[[], Awaitable[float]] | None = None,
) -> Latencies:
    """Push again and again; `noticed` says when (Unix seconds) the last change was looked for."""
    latencies = Latencies(title)
    async with started_builds(client) as seen:
        await _complete(client, 1)
        for number in range(2, PUSHES + 2):
            await push(str(number))
            pushed = time.time()
            name = f"app-{number}"

            async def begun(name: str = name) -> float | None:
                return seen.at.get(name)

            at = await until(begun, lambda found: found is not None) or 0.0
            since = max(pushed, await noticed()) if noticed else pushed
            latencies.whole.append((at - pushed) * 1000)
            latencies.own.append((at - since) * 1000)
            await _complete(client, number)
        latencies.bare = await bare_answers(BARE_ANSWERS, BARE_PAUSE_SECONDS)
    return latencies


async def _complete(client: ApiClient, number: int) -> None:
    async def phases() -> dict[str, BuildPhase]:
        builds = (await client.list(Build)).items
        return {build.name: build.status.phase for build in builds}

    await until(phases, lambda seen: seen.get(f"app-{number}") is BuildPhase.COMPLETE)


async def last_look(client: ApiClient) -> float:
    """Return when upstream was asked and answered with the newest digest."""
    history = (await client.get(ImageStream, "default", "base")).status.tag("1")
    assert history is not None
    assert history.latest is not None
    return history.latest.created.timestamp()


async def test_from_a_push_to_the_start_of_a_build(ratios: Ratios) -> None:
    rows = [await inside(), await by_webhook(), await by_webhook(CHECKED), await by_poll()]
    print(f"\n{PUSHES} pushes each, milliseconds; Upwell's own part begins when it looks")  # noqa: T201
    print(f"{'':<32} {'whole p50':>7}     p99   {'own p50':>7}     p99")  # noqa: T201
    print("\n".join(str(row) for row in rows))  # noqa: T201 - the result
    for row in rows:
        row.note(ratios)
    assert max(statistics.median(row.own) for row in rows) < 1000


async def by_poll() -> Latencies:
    async with installation() as made, made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1")
        app = docker_build("app", dockerfile=_DOCKERFILE)
        await made.apply(client, base_stream(made.vendor) + stream("app") + app)

        async def push(version: str) -> None:
            await publish(made.vendor, "vendor/base:1", version)

        return await measure("vendor, polled each second", client, push, lambda: last_look(client))


async def by_webhook(checked: int = 0) -> Latencies:
    """Measure webhooks, beside so many streams whose tags are checked all the time.

    Those are of another registry: distribution tells of each check as of a pull, one after another,
    and of a push when its turn comes.
    """
    async with installation() as made, made.client() as client:
        endpoint = f"{{name: upwell, url: '{made.url}/webhooks/registry', timeout: 5s}}"
        settings = {"REGISTRY_NOTIFICATIONS_ENDPOINTS": f"[{endpoint}]"}
        folder = made.folder / "notifying"
        folder.mkdir()
        with contextmanager(serve_registry)(folder, settings, port=made.spare_port()) as vendor:
            await publish(vendor, "vendor/base:1", "1")
            app = docker_build("app", dockerfile=_DOCKERFILE)
            base = base_stream(vendor).replace("import-interval: 1s", "import-interval: 1h")
            await made.apply(client, base + stream("app") + app)

            async def push(version: str) -> None:
                await publish(vendor, "vendor/base:1", version)

            for number in range(checked):
                await push_image(made.vendor, f"team/app{number}", *map(str, range(TAGS)))
            await made.apply(client, "".join(_checked(made.vendor, one) for one in range(checked)))
            beside = f" beside {checked * TAGS}" if checked else ""
            return await measure(f"vendor, by webhook{beside}", client, push)


def _checked(vendor: str, number: int) -> str:
    """Return a stream whose tags are looked at again and again."""
    head, _, _ = stream(f"checked-{number}").rstrip().rpartition("---")
    tags = [
        f"""
    - name: "{tag}"
      from: {{kind: DockerImage, name: "{vendor}/team/app{number}:{tag}"}}
      importPolicy: {{scheduled: true, insecure: true}}"""
        for tag in range(TAGS)
    ]
    head = head.replace("metadata: {", f"metadata: {{annotations: {_EVERY}, ")
    return f"{head}spec:\n  tags:{''.join(tags)}\n---\n"


async def inside() -> Latencies:
    async with installation() as made, made.client() as client:
        app = docker_build("app", base="pushed:latest", dockerfile=_DOCKERFILE)
        await made.apply(client, stream("pushed") + stream("app") + app)

        async def push(version: str) -> None:
            internal = f"127.0.0.1:{made.port}"
            await publish(internal, "default/pushed:latest", version, token=made.token)

        await push("1")
        return await measure("internal registry", client, push)


async def test_requests_that_rollouts_in_a_row_lose() -> None:
    async with installation() as made, made.client() as client:
        await made.apply(client, stream("site") + _site() + published("site"))

        async def push(version: str) -> None:
            internal = f"127.0.0.1:{made.port}"
            await publish(internal, "default/site:latest", version, token=made.token)

        await push("0")
        await until(lambda: answer(made.router_port, "site.test"), "0".__eq__)
        times = []
        async with traffic(made.router_port, ["site.test"]) as seen:
            for number in range(1, ROLLOUTS + 1):
                began = time.monotonic()
                await push(str(number))
                await _rolled_out(made, client, str(number))
                times.append(time.monotonic() - began)
        result = seen["site.test"]
    asked = sum(result.answers.values()) + len(result.failures)
    print(  # noqa: T201 - the result
        f"\n{ROLLOUTS} rollouts of 2 replicas in a row: {asked} requests,"
        f" {len(result.failures)} lost; median {statistics.median(times):.1f} s each"
    )
    assert result.failures == []


def _site() -> str:
    command = f'- name: web\n          command: ["sh", "-c", "{SITE}"]'
    return deployment("site", replicas=2).replace("- name: web", command)


async def _rolled_out(made: Installation, client: ApiClient, version: str) -> None:
    await until(lambda: answer(made.router_port, "site.test"), version.__eq__)

    async def standing() -> tuple[str, int]:
        newest = (await client.get(Deployment, "default", "site")).status.revisions[0]
        return newest.phase, len(made.podman_names())

    await until(standing, ("Complete", 2).__eq__)
