"""`upwell serve` as users start it, encrypted, and the same with one part of its security left out.

All run at once and are asked in turns; each pays in processor time of its own, which the load of
the machine changes little. What is left out is left out whole: nothing in its place.
"""

import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from tests.support.installation.installation import Installation, installation
from tests.support.registry.docker_registry import push_blob, push_image

pytestmark = pytest.mark.benchmark

ROUNDS = 6
WRITES = 100
PUSHES = 20
BUILDS = 20
BLOB_BYTES = 1024 * 1024
MOST = 1.05
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs"
_RUN = "from upwell.cli import main; main()"
_NO_AUTHORITY = f"""
from upwell.server.objects import writes
writes.refusal = lambda *_: None
writes.authored = lambda resource, *_: resource
{_RUN}
"""
_NO_AUDIT = f"""
from upwell.audit.log import AuditLog
async def nothing(*_): pass
AuditLog.record = AuditLog.require = nothing
from upwell.server.objects import writes
writes._changes = lambda *_: ()
{_RUN}
"""


@dataclass
class Side:
    """A running server, and what each kind of work has cost it."""

    name: str
    server: Installation
    session: aiohttp.ClientSession
    processor: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of each, by round."""
    waited: dict[str, list[float]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def clock(self) -> int:
        """The process's own clock of processor time (clock_getcpuclockid(3))."""
        return (~self.server.pid << 3) | 2

    async def measure(self, what: str, work: Callable[["Side"], Awaitable[int]]) -> None:
        """Do some work, and note what one piece of it cost."""
        processor, began = time.clock_gettime(self.clock), time.perf_counter()
        pieces = await work(self)
        waited, spent = time.perf_counter() - began, time.clock_gettime(self.clock) - processor
        self.processor.setdefault(what, []).append(1e3 * spent / pieces)
        self.waited.setdefault(what, []).append(1e3 * waited / pieces)

    async def send(self, method: str, path: str, body: object) -> None:
        async with self.session.request(method, path, data=json.dumps(body)) as answer:
            await answer.read()


@asynccontextmanager
async def serving(
    name: str, folder: Path, program: tuple[str, ...] = (), *, encrypted: bool = True
) -> AsyncIterator[Side]:
    def choose(made: Installation) -> None:
        made.program = (made.program[0], *program) if program else made.program
        made.options = ("--log-level", "info")
        if encrypted:
            key, config = folder / f"{name}.key", folder / f"{name}.toml"
            assert made.upwell("encryption", "new-key", str(key)).returncode == 0
            config.write_text(f'[encryption]\nkeys = ["file:{key}"]\n')
            made.options = (*made.options, "--config", str(config))

    async with installation(prepare=choose) as server:
        headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
        async with aiohttp.ClientSession(
            server.url, connector=connector, headers=headers, raise_for_status=True
        ) as session:
            side = Side(name, server, session)
            await prepare(side)
            yield side


async def prepare(side: Side) -> None:
    """Make what is updated and built. The first build finds no source, and all others wait."""
    await side.send("POST", CONFIG_MAPS, config_map("kept", 0))
    await side.send("POST", DEPLOYMENTS, deployment("kept", 0))
    config = {
        "metadata": {"name": "app"},
        "spec": {
            "runPolicy": "Serial",
            "source": {"type": "Git", "git": {"uri": "http://127.0.0.1:9/none"}},
            "strategy": {"type": "Docker", "dockerStrategy": {}},
        },
    }
    await side.send("POST", CONFIGS, config)


def config_map(name: str, turn: int) -> object:
    return {"metadata": {"name": name}, "data": {"text": "x" * 1000, "turn": str(turn)}}


def deployment(name: str, turn: int) -> object:
    labels = {"app": name}
    variables = [{"name": f"V{at}", "value": f"{at} of {turn}"} for at in range(10)]
    container = {"name": "app", "image": "registry.example.com/app:1", "env": variables}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "paused": True,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


async def create_config_maps(side: Side) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("POST", CONFIG_MAPS, config_map(f"item-{number}", number))
    return WRITES


async def update_config_maps(side: Side) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("PUT", f"{CONFIG_MAPS}/kept", config_map("kept", number))
    return WRITES


async def create_deployments(side: Side) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("POST", DEPLOYMENTS, deployment(f"item-{number}", number))
    return WRITES


async def update_deployments(side: Side) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("PUT", f"{DEPLOYMENTS}/kept", deployment("kept", number))
    return WRITES


async def start_builds(side: Side) -> int:
    request = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildRequest",
        "metadata": {"name": "app"},
    }
    for _ in range(BUILDS):
        await side.send("POST", f"{CONFIGS}/app/instantiate", request)
    return BUILDS


async def push_images(side: Side) -> int:
    place, login = f"127.0.0.1:{side.server.port}", f"Bearer {side.server.token}"
    for number in (next(side.numbers) for _ in range(PUSHES)):
        repository = f"default/app-{number % 3}"
        content = number.to_bytes(8) * (BLOB_BYTES // 8)
        await push_blob(side.session, f"http://{place}/v2/{repository}", content)
        await push_image(place, repository, f"v{number}", login=login)
    return PUSHES


WORK = {
    "create a ConfigMap": create_config_maps,
    "update a ConfigMap": update_config_maps,
    "create a Deployment": create_deployments,
    "update a Deployment": update_deployments,
    "start a build": start_builds,
    "push an image": push_images,
}


async def test_what_security_costs(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(one)
            for one in (
                serving("whole", tmp_path),
                serving("encryption", tmp_path, encrypted=False),
                serving("authority", tmp_path, ("-c", _NO_AUTHORITY)),
                serving("audit", tmp_path, ("-c", _NO_AUDIT)),
            )
        ]
        for at in range(ROUNDS + 1):  # the first warms up
            for what, work in WORK.items():
                for side in sides if at % 2 else reversed(sides):
                    await side.measure(what, work)
    over = report(sides)
    assert over == []


def report(sides: list[Side]) -> list[str]:
    """Print what each part costs; return what costs too much."""
    whole, *others = sides
    over = []
    for what in WORK:
        cost, wait = whole.processor[what][1:], whole.waited[what][1:]
        line = f"{what:20} {statistics.median(cost):6.2f} ms, waited {statistics.median(wait):6.2f}"
        for side in others:
            ratio = between(cost, side.processor[what][1:])
            line += f" | {side.name} {ratio:.3f}, waited {between(wait, side.waited[what][1:]):.3f}"
            if ratio > MOST:
                over.append(f"{side.name} of: {what}: {ratio:.3f}")
        print(line)  # noqa: T201
    return over


def between(whole: list[float], without: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(whole, without, strict=True))
