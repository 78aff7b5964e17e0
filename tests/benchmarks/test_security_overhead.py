"""Shares of encryption, authority, audit log, defaults and validation in what a request costs.

The server is as users start it, encrypted, but that each part counts the processor time that it
takes (of its own thread). So all shares are of the same requests, and a loaded machine changes the
numbers more than their ratio. Waits are not in it: for the disk, and from thread to thread.
"""

import json
import statistics
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import Installation, installation
from tests.support.registry.docker_registry import push_blob, push_image

pytestmark = pytest.mark.benchmark

ROUNDS = 5
WRITES = 60
PUSHES = 20
BUILDS = 20
BLOB_BYTES = 1024 * 1024
MOST = 1.05
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGS = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs"
PARTS = ("encryption", "authority", "audit", "defaults", "validation")
_COUNTING = """
import functools, mmap, struct, sys, time
from pathlib import Path
with Path({path!r}).open("r+b") as file:
    totals = mmap.mmap(file.fileno(), {size})

def add(part, nanoseconds):
    spent = struct.unpack_from("q", totals, 8 * part)[0]
    struct.pack_into("q", totals, 8 * part, spent + nanoseconds)

def counted(part, function):
    @functools.wraps(function)
    def timed(*arguments, **named):
        began = time.thread_time_ns()
        try:
            return function(*arguments, **named)
        finally:
            add(part, time.thread_time_ns() - began)
    return timed

class Steps:
    def __init__(self, part, coroutine):
        self.part, self.coroutine = part, coroutine

    def __await__(self):
        inside = self.coroutine.__await__()
        step = counted(self.part, inside.send)
        sent = None
        while True:
            try:
                sent = yield step(sent)
            except StopIteration as ended:
                return ended.value
            except BaseException as error:
                inside.throw(error)
                raise

def counted_async(part, function):
    async def timed(*arguments):
        return await Steps(part, function(*arguments))
    return timed

from upwell.audit import log
from upwell.delivery.sealed_events import SealedEvents
from upwell.reconcilers import authority
from upwell.server.admission import admission
from upwell.server.auth import caller
from upwell.server.objects import writes
from upwell.store.encryption.envelope import EnvelopeCipher
EnvelopeCipher.seal = counted(0, EnvelopeCipher.seal)
SealedEvents.kept = counted(0, SealedEvents.kept)
asked = {{
    writes: ("refusal", "authored"),
    caller: ("refusal", "lacking", "content_needs"),
    authority: ("needs_in_use", "content_needs", "pull_needs", "image_needs", "lacking"),
}}
for module, names in asked.items():
    for name in names:
        setattr(module, name, counted(1, getattr(module, name)))
admission.with_defaults = counted(3, admission.with_defaults)
for name in ("validate", "immutable_faults", "template_faults", "label_faults"):
    asked_for = getattr(admission, name)
    whole = lambda *objects, ask=asked_for: tuple(ask(*objects))
    setattr(admission, name, counted(4, whole))
writes._changes = counted(2, writes._changes)
log.ChainFiles.append = counted(2, log.ChainFiles.append)
log.AuditLog.record = counted_async(2, log.AuditLog.record)
from upwell.cli import main
main()
"""


@dataclass
class CountedServer:
    """A running server that counts what its parts cost."""

    server: Installation
    session: aiohttp.ClientSession
    totals: Path
    shares: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    """Milliseconds of one piece of work, by round: of all, and of each part."""
    numbers: Iterator[int] = field(default_factory=count)

    def spent(self) -> tuple[float, ...]:
        """Return the milliseconds of processor time so far: of the process, and of each part."""
        clock = (~self.server.pid << 3) | 2  # clock_getcpuclockid(3)
        parts = struct.unpack(f"{len(PARTS)}q", self.totals.read_bytes())
        return (1e3 * time.clock_gettime(clock), *(part / 1e6 for part in parts))

    async def measure(self, what: str, work: Callable[["CountedServer"], Awaitable[int]]) -> None:
        """Do some work, and note what one piece of it cost."""
        before = self.spent()
        pieces = await work(self)
        after = self.spent()
        cost = tuple((new - old) / pieces for new, old in zip(after, before, strict=True))
        self.shares.setdefault(what, []).append(cost)

    async def send(self, method: str, path: str, body: object) -> None:
        async with self.session.request(method, path, data=json.dumps(body)) as answer:
            await answer.read()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[CountedServer]:
    totals = folder / "totals"
    totals.write_bytes(bytes(8 * len(PARTS)))

    def choose(made: Installation) -> None:
        key, config = folder / "encryption.key", folder / "upwell.toml"
        assert made.upwell("encryption", "new-key", str(key)).returncode == 0
        config.write_text(f'[encryption]\nkeys = ["file:{key}"]\n')
        made.options = ("--log-level", "info", "--config", str(config))
        made.program = (
            made.program[0],
            "-c",
            _COUNTING.format(path=str(totals), size=8 * len(PARTS)),
        )

    async with installation(prepare=choose) as server:
        headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
        async with aiohttp.ClientSession(
            server.url, connector=connector, headers=headers, raise_for_status=True
        ) as session:
            made = CountedServer(server, session, totals)
            await prepare(made)
            yield made


async def prepare(side: CountedServer) -> None:
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


async def create_config_maps(side: CountedServer) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("POST", CONFIG_MAPS, config_map(f"item-{number}", number))
    return WRITES


async def update_config_maps(side: CountedServer) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("PUT", f"{CONFIG_MAPS}/kept", config_map("kept", number))
    return WRITES


async def create_deployments(side: CountedServer) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("POST", DEPLOYMENTS, deployment(f"item-{number}", number))
    return WRITES


async def update_deployments(side: CountedServer) -> int:
    for number in (next(side.numbers) for _ in range(WRITES)):
        await side.send("PUT", f"{DEPLOYMENTS}/kept", deployment("kept", number))
    return WRITES


async def start_builds(side: CountedServer) -> int:
    request = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildRequest",
        "metadata": {"name": "app"},
    }
    for _ in range(BUILDS):
        await side.send("POST", f"{CONFIGS}/app/instantiate", request)
    return BUILDS


async def push_images(side: CountedServer) -> int:
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


async def test_what_security_costs(tmp_path: Path, ratios: Ratios) -> None:
    async with serving(tmp_path) as side:
        for _ in range(ROUNDS + 1):  # the first warms up
            for what, work in WORK.items():
                await side.measure(what, work)
    over = []
    for what, rounds in side.shares.items():
        whole, *parts = (statistics.median(costs) for costs in zip(*rounds[1:], strict=True))
        line = f"{what:20} {whole:6.2f} ms"
        for name, cost in zip(PARTS, parts, strict=True):
            ratio = whole / (whole - cost)
            ratios.note_cost(f"{what}, processor of the same without {name}", ratio)
            line += f" | {name} {1e3 * cost:4.0f} us, {ratio:.3f}"
            if ratio > MOST:
                over.append(f"{name} of: {what}: {ratio:.3f}")
        print(line)  # noqa: T201
    assert over == []
