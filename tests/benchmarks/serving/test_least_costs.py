"""Profile costs of a running server beside the least that code which does only that could take.

All in one process, over a store in memory, in processor time: no disk, no socket, no other work.
Run with `pytest -m benchmark -s tests/benchmarks/serving/test_least_costs.py`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest
from tests.benchmarks.test_memory import build_config
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.memory_builds import (
    NAMESPACE,
    VENDOR,
    BuildMachine,
    image_stream,
    imported,
    stream_key,
)
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline
from tests.support.registry.docker_registry import CONFIG, image_manifest
from tests.support.registry.memory import RegistryInMemory
from tests.support.rollouts.deployments import DeploymentUnderTest
from tests.support.rollouts.memory_machine import GOOD

from upwell.api.apps import Deployment
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as, encode_json
from upwell.api.core import ConfigMap, Service
from upwell.api.image import ImageStream, NamedTagEventList
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.controller import ObjectCache
from upwell.oci import Digest, Reference
from upwell.policy.access.roles import EVERYWHERE, Grant, Role
from upwell.policy.access.visibility import SecretView, WriteOnlyValues
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.server.http.rendering import Rendering
from upwell.server.http.target import RequestTarget
from upwell.server.objects.write_options import WriteOptions
from upwell.server.objects.writes import Writer
from upwell.store.memory import MemoryStore

pytestmark = pytest.mark.benchmark

TURNS = 9
SOURCE = f"{VENDOR}/debian:11"
STREAMS, TAGS = 300, 100
WATCHES, CHANGES = 100, 50
LOOKS = 200
ROWS = 500


async def cost(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Return the microseconds of the processor for each of `times` pieces, median of turns."""
    found = []
    for _ in range(TURNS):
        began = time.process_time()
        await work()
        found.append((time.process_time() - began) / times * 1e6)
    return median(found)


def tell(ratios: Ratios, what: str, ours: float, least: float) -> None:
    print(f"\n{what}: {ours:.0f} us, at least {least:.0f}, ratio {ours / least:.2f}")  # noqa: T201
    ratios.note_cost(f"{what}, of the least", ours / least)


class CheckedTags:
    """Streams with scheduled tags of a registry in memory, where nothing is new."""

    def __init__(self, folder: Path, streams: int, tags: int) -> None:
        self.machine = BuildMachine(folder)
        self.keys = [stream_key(f"s{number}") for number in range(streams)]
        self.tags = [imported(f"t{tag}", SOURCE, scheduled=True) for tag in range(tags)]
        manifest = image_manifest()
        self.registry = RegistryInMemory(manifest, tags={SOURCE: manifest.digest})
        self.registry.blobs[Digest.of(CONFIG)] = CONFIG
        machine = self.machine
        self.reconciler = ImageStreams(
            *(machine.cache, self.registry, machine.internal, machine.secrets),
            ImportSchedule(),
            clock=machine.clock,
            jitter=lambda: 0.5,
        )

    async def begin(self) -> None:
        for key in self.keys:
            await self.machine.store.create(image_stream(key.name, *self.tags))
        await self.check()

    async def check(self) -> None:
        """Check all tags, an interval after the last time."""
        self.machine.clock.advance(3600)
        for key in self.keys:
            await self.reconciler.reconcile(key)

    async def least_of_tags(self) -> None:
        """Ask for each tag in a task of its own, and compare with what is stored."""
        for key in self.keys:
            stream = await self.machine.store.get(ImageStream, NAMESPACE, key.name)
            known = stream.status.by_tag()

            async def ask(name: str, known: Mapping[str, NamedTagEventList] = known) -> bool:
                found = await self.registry.resolve(Reference.parse(SOURCE))
                latest = known[name].latest
                return latest is not None and str(found.digest) == latest.image

            async with asyncio.TaskGroup() as group:
                for tag in stream.spec.tags:
                    group.create_task(ask(tag.name))

    async def least_of_streams(self) -> None:
        """Read each stream, as it is asked for, and as it is written, and look at its tags."""
        for key in self.keys:
            for _ in ("asked", "written"):
                stream = await self.machine.store.get(ImageStream, NAMESPACE, key.name)
                assert all(tag.scheduled for tag in stream.spec.tags)


async def test_a_tag_and_a_stream_without_news(tmp_path: Path, ratios: Ratios) -> None:
    many, single = CheckedTags(tmp_path / "a", 3, TAGS), CheckedTags(tmp_path / "b", STREAMS, 1)
    for one in (many, single):
        await one.begin()
    asked = many.registry.asked
    tag = await cost(many.check, 3 * TAGS)
    assert many.registry.asked - asked == TURNS * 3 * TAGS
    tell(ratios, "a tag without news", tag, await cost(many.least_of_tags, 3 * TAGS))
    stream = await cost(single.check, STREAMS) - tag
    tell(ratios, "a look at a stream", stream, await cost(single.least_of_streams, STREAMS))


async def test_an_event_from_the_store_to_a_watch(ratios: Ratios) -> None:
    machine = ReconciledPipeline()
    kept = await machine.store.create(ConfigMap(metadata=ObjectMeta(name="kept", namespace="shop")))
    seen, told = 0, asyncio.Semaphore(0)

    async def follow() -> None:
        nonlocal seen
        async with aclosing(machine.store.watch(ConfigMap)) as events:
            told.release()
            async for _ in events:
                seen += 1

    async def change() -> None:
        wanted = seen + (CHANGES * WATCHES if watching else 0)
        for number in range(CHANGES):
            current = await machine.store.get(ConfigMap, "shop", "kept")
            data = {"text": str(number)}
            await machine.store.update(current.model_copy(update={"data": data}))
        while seen < wanted:  # noqa: ASYNC110 - a condition would cost more than what is measured
            await asyncio.sleep(0)

    watching: list[asyncio.Task[None]] = []
    assert kept.name
    alone = await cost(change, CHANGES)
    watching = [asyncio.create_task(follow()) for _ in range(WATCHES)]
    for _ in range(WATCHES):
        await told.acquire()
    await asyncio.sleep(0)
    event = (await cost(change, CHANGES) - alone) / WATCHES
    for task in watching:
        task.cancel()
    tell(ratios, "an event from the store", event, await cost(queues, CHANGES * WATCHES))


async def queues() -> None:
    """Hand as many things over to as many tasks, by a queue of each."""
    queue_of = [asyncio.Queue[int]() for _ in range(WATCHES)]

    async def follow(queue: asyncio.Queue[int]) -> None:
        for _ in range(CHANGES):
            await queue.get()

    async with asyncio.TaskGroup() as group:
        for queue in queue_of:
            group.create_task(follow(queue))
        for number in range(CHANGES):
            await asyncio.sleep(0)
            for queue in queue_of:
                queue.put_nowait(number)


async def test_looks_at_what_needs_nothing(ratios: Ratios) -> None:
    line = ReconciledPipeline()
    await line.pipeline({"name": "dev"}, {"name": "live"}, name="app")
    await line.push("one", "app")
    pipeline = ObjectKey("Pipeline", "shop", "app")

    async def at_pipeline() -> None:
        await line.pipelines.reconcile(pipeline)

    async def read_pipeline() -> None:
        for kind in (Pipeline, Deployment, ImageStream, Release, Promotion):
            await line.store.list(kind)

    async with kept(line.builds.cache):
        ours = await cost(lambda: repeated(at_pipeline), LOOKS)
    least = await cost(lambda: repeated(read_pipeline), LOOKS)
    tell(ratios, "a look at an idle Pipeline", ours, least)

    under_test = await DeploymentUnderTest.served()
    await under_test.roll_out(GOOD)

    async def at_deployment() -> None:
        await under_test.setup.reconcile(under_test.key)

    async def read_deployment() -> None:
        for kind in (Deployment, Service, ImageStream):
            await under_test.setup.store.list(kind)
        await under_test.setup.runtime.instances()

    async with kept(under_test.setup.cache):
        ours = await cost(lambda: repeated(at_deployment), LOOKS)
    least = await cost(lambda: repeated(read_deployment), LOOKS)
    tell(ratios, "looks of triggers, rollout and routes at an idle Deployment", ours, least)


async def test_a_row_of_a_table(ratios: Ratios) -> None:
    stored = [decode_as(BuildConfig, build_config(number)) for number in range(ROWS)]
    rendering = Rendering(as_table=True, include="Metadata", now=datetime.now(UTC))

    def table(resources: list[BuildConfig]) -> bytes:
        return b"".join(rendering.many(BuildConfig.KIND, resources, {}))

    rows = json.loads(table(stored))["rows"]

    async def first() -> None:
        table([one.model_copy() for one in stored])

    async def again() -> None:
        table(stored)

    async def least() -> None:
        assert all(json.dumps(row).encode() for row in rows)

    bare = await cost(least, ROWS)
    tell(ratios, "a row of a table that is read first", await cost(first, ROWS), bare)
    tell(ratios, "a row of a table that is asked for again", await cost(again, ROWS), bare)


async def test_a_change_of_an_object(ratios: Ratios) -> None:
    store = MemoryStore(lambda: datetime.now(UTC))
    kept = await store.create(decode_as(BuildConfig, build_config(0)))
    grants = (Grant(Role.ADMIN, frozenset({EVERYWHERE})),)
    view = SecretView(WriteOnlyValues(b"key"), grants)
    options = WriteOptions("test", user="test", grants=grants, registry=VENDOR, view=view)
    target = RequestTarget(BuildConfig, kept.namespace, kept.name)
    writer = Writer(store, lambda: datetime.now(UTC))
    number = 0

    async def change() -> None:
        nonlocal number
        number += 1
        labels = {"number": str(number)}
        await writer.modify(
            target, lambda one: one | {"metadata": one["metadata"] | {"labels": labels}}, options
        )

    async def least() -> None:
        found = await store.get(BuildConfig, kept.namespace, kept.name)
        document = json.loads(encode_json(found))
        document["metadata"]["labels"] = {"number": "0"}
        encode_json(decode_as(BuildConfig, document))

    ours = await cost(lambda: repeated(change), LOOKS)
    tell(ratios, "a change of an object", ours, await cost(lambda: repeated(least), LOOKS))


@asynccontextmanager
async def kept(cache: ObjectCache) -> AsyncIterator[None]:
    """Keep a cache up to date, as a server does; else each look would list all kinds."""
    running = asyncio.create_task(cache.run())
    await asyncio.sleep(0)  # it begins
    try:
        yield
    finally:
        running.cancel()


async def repeated(work: Callable[[], Awaitable[object]]) -> None:
    """Do it as often as `LOOKS` says."""
    for _ in range(LOOKS):
        await work()
