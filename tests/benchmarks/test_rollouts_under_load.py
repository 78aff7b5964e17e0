"""Ten rollouts one after the other under load: requests lost, by protocol and number of replicas.

Each begins with a new Route, so that the router's process is replaced meanwhile.

It notes no ratio: what it measures are requests that are lost, and it fails for one. How long a
rollout takes is the drain of the long requests, which are 20 s by themselves.
Run with `pytest -m benchmark -s tests/benchmarks/test_rollouts_under_load.py`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from tests.support.installation.installation import until
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Service
from upwell.api.route import Route

__all__ = ["podman_home", "real_rollouts"]  # fixtures

pytestmark = pytest.mark.benchmark

ROLLOUTS = 10
LONG_SECONDS = 20
PAUSE_SECONDS = 0.3
"""Between two requests of a client whose kept connection is idle meanwhile."""
HELD_SECONDS = 5
"""Seconds for which clients of plain TCP and of upgraded connections keep one."""
MESSAGE_PAUSE_SECONDS = 0.1
"""Between the messages on such a connection, which make its load."""
ROLLOUT_SECONDS = 300.0
"""Deadline of one rollout."""
HOST, UPGRADED = "web.shop.localhost", "ws.shop.localhost"
# The example of RFC 6455, section 1.3: HAProxy looks at both.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SERVE = f"""
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho; echo quick\\n' > /www/cgi-bin/quick
printf '#!/bin/sh\\nbusybox sleep {LONG_SECONDS}; echo; echo long\\n' > /www/cgi-bin/long
cat > /ws <<'END'
#!/bin/sh
while read -r line; do [ ${{#line}} -le 1 ] && break; done
printf "HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
printf "Connection: Upgrade\\r\\nSec-WebSocket-Accept: {ACCEPT}\\r\\n\\r\\n"
exec cat
END
busybox chmod +x /www/cgi-bin/quick /www/cgi-bin/long /ws
nc -ll -p 9000 -e cat &
nc -ll -p 8081 -e /ws &
exec httpd -f -p 8080 -h /www
"""


def deployment(image: str, version: int, replicas: int) -> Deployment:
    container = {
        "name": "web",
        "image": image,
        "command": ["/bin/busybox", "sh", "-c", SERVE],
        "env": [{"name": "VERSION", "value": str(version)}],
        "ports": [{"containerPort": port} for port in (8080, 8081, 9000)],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/cgi-bin/quick"}},
    }
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    drain = {"upwell.dev/drain-seconds": f"{3 * LONG_SECONDS}"}
    metadata = {"namespace": "shop", "name": "web", "annotations": drain}
    spec = {"replicas": replicas, "template": template}
    return decode_as(Deployment, {"metadata": metadata, "spec": spec})


def version(image: str, number: int, replicas: int) -> Callable[[Deployment], Deployment]:
    spec = {"spec": deployment(image, number, replicas).spec}
    return lambda now: now.model_copy(update=spec)


def service() -> Service:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "ws", "port": 81, "targetPort": 8081},
        {"name": "echo", "port": 9000},
    ]
    metadata = {"namespace": "shop", "name": "web"}
    spec = {"selector": {"app": "web"}, "ports": ports}
    return decode_as(Service, {"metadata": metadata, "spec": spec})


def route(name: str, host: str, port: str) -> Route:
    spec = {"host": host, "to": {"name": "web"}, "port": {"targetPort": port}}
    return decode_as(Route, {"metadata": {"namespace": "shop", "name": name}, "spec": spec})


class AnswerCounts:
    """Answers that clients got, by protocol."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.lost: dict[str, list[str]] = {}

    async def repeat(self, protocol: str, ask: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await ask()
            except (aiohttp.ClientError, OSError, EOFError, AssertionError) as error:
                self.lost.setdefault(protocol, []).append(repr(error))
            else:
                self.answered[protocol] += 1

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {count} ({len(self.lost.get(name, []))} lost)"
            for name, count in sorted(self.answered.items())
        )


async def echo(host: str, port: int, greeting: bytes, tally: AnswerCounts, protocol: str) -> None:
    """Hold a connection for a while, and have everything answered that is sent on it."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        if greeting:
            writer.write(greeting)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head, head
        end = time.monotonic() + HELD_SECONDS
        while time.monotonic() < end:
            writer.write(b"ping\n")
            assert await reader.readexactly(5) == b"ping\n"
            tally.answered[f"{protocol} messages"] += 1
            await asyncio.sleep(MESSAGE_PAUSE_SECONDS)
    finally:
        writer.close()


@asynccontextmanager
async def load(real_rollouts: RealRollouts) -> AsyncIterator[AnswerCounts]:
    address = real_rollouts.router.http_address
    host, _, port = address.rpartition(":")
    cluster_ip = (await real_rollouts.store.get(Service, "shop", "web")).spec.cluster_ip or ""
    tally = AnswerCounts()
    upgrade = (
        f"GET / HTTP/1.1\r\nHost: {UPGRADED}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ).encode()

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:

        async def post(base: str, path: str, *, pause: float = 0) -> None:
            # POST, since aiohttp repeats a GET in silence when its connection is closed.
            request = session.post(f"http://{base}/cgi-bin/{path}", headers={"Host": HOST})
            async with request as answer:
                text = (await answer.text()).strip()
                assert (answer.status, text) == (200, path), (answer.status, text)
            await asyncio.sleep(pause)

        asks: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            *[("keep-alive", lambda: post(address, "quick"))] * 3,
            ("keep-alive with pauses", lambda: post(address, "quick", pause=PAUSE_SECONDS)),
            ("keep-alive by Service", lambda: post(cluster_ip, "quick")),
            *[("long", lambda: post(address, "long"))] * 2,
            ("TCP", lambda: echo(cluster_ip, 9000, b"", tally, "TCP")),
            ("upgraded", lambda: echo(host, int(port), upgrade, tally, "upgraded")),
        ]
        tasks = [group.create_task(tally.repeat(name, ask)) for name, ask in asks]
        yield tally
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("replicas", [1, 5])
async def test_ten_rollouts_lose_nothing(real_rollouts: RealRollouts, replicas: int) -> None:
    image = str(real_rollouts.image)
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(service())
        await real_rollouts.store.create(route("web", HOST, "http"))
        await real_rollouts.store.create(route("ws", UPGRADED, "ws"))
        await real_rollouts.store.create(deployment(image, 0, replicas))
        await real_rollouts.until_live(1)

        async def settled() -> int:
            return len(await runtime.instances())

        durations = []
        async with load(real_rollouts) as tally:
            for number in range(1, ROLLOUTS + 1):
                began = time.monotonic()
                # A new Route replaces the router's process, in the middle of everything.
                await real_rollouts.store.create(
                    route(f"other-{number}", f"other-{number}.test", "http")
                )
                await real_rollouts.change(Deployment, "web", version(image, number, replicas))
                await until_complete(real_rollouts, number + 1)
                durations.append(time.monotonic() - began)
        await eventually(settled, lambda count: count == replicas)
    print(  # noqa: T201 - the result
        f"\n{replicas} replicas, {ROLLOUTS} rollouts,"
        f" {min(durations):.1f} to {max(durations):.1f} s each: {tally}"
    )
    assert not tally.lost, {name: found[:5] for name, found in tally.lost.items()}


async def until_complete(real_rollouts: RealRollouts, revision: int) -> None:
    async def latest() -> tuple[int, str] | None:
        records = (await real_rollouts.deployment()).status.revisions
        return (records[0].revision, records[0].phase) if records else None

    await until(latest, lambda found: found == (revision, "Complete"), ROLLOUT_SECONDS)
