"""Cost of one new base image among ten thousand BuildConfigs, of which it concerns a hundred."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import until

from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    Build,
    BuildPhase,
    ImageInput,
)
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference
from upwell.controller import ObjectCache, WorkQueue
from upwell.oci import Digest
from upwell.policy.images.streams import record_image
from upwell.reconcilers.builds.build_configs import BuildConfigs, build_config_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.memory import MemoryStore

pytestmark = pytest.mark.benchmark

CONFIGS, AFFECTED, BASES = 10_000, 100, 100
NAMESPACE = "shop"


class BuildConfigsAtScale:
    """BuildConfigs that are up to date, each with one build that has ended."""

    def __init__(self) -> None:
        self.store = MemoryStore(lambda: datetime.now(UTC))

    async def fill(self) -> None:
        for base in range(BASES):
            await self.store.create(ImageStream(metadata=_named(f"base{base}")))
            await self.change(base, "old")
        for number in range(CONFIGS):
            # Spread unevenly: `base0` has exactly those that the benchmark counts.
            base = 0 if number < AFFECTED else 1 + number % (BASES - 1)
            await self._config(number, base)

    async def change(self, base: int, mark: str) -> None:
        stream = await self.store.get(ImageStream, NAMESPACE, f"base{base}")
        event = TagEvent(
            created=datetime.now(UTC),
            docker_image_reference=_pull_spec(base, mark),
            image=str(Digest.of(mark.encode())),
        )
        status = record_image(stream.status, "latest", event, changes={})
        await self.store.update_status(stream.with_status(status))

    async def settle_builds(self, count: int) -> None:
        """Wait until this many builds exist in all."""
        changes = self.store.watch(Build)
        seen: set[str] = set()
        try:
            async for change in changes:
                seen.add(change.resource.name)
                if len(seen) == count:
                    return
        finally:
            await changes.aclose()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        cache = ObjectCache(self.store)
        configs = build_config_controller(BuildIndex(cache), lambda: datetime.now(UTC))
        tasks = [asyncio.create_task(each.run()) for each in (cache, configs)]
        try:
            await self._looked_at_all(configs.queue)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _looked_at_all(self, queue: WorkQueue[ObjectKey]) -> None:
        """Wait until the decision about every BuildConfig stands in its status."""
        seen: set[str] = set()
        changes = self.store.watch(BuildConfig)
        async for change in changes:
            if change.resource.status.conditions:
                seen.add(change.resource.name)
            if len(seen) == CONFIGS:
                break
        await changes.aclose()

        async def queued() -> int:
            return len(queue)

        await until(queued, lambda count: count == 0)  # the last ones are looked at once more

    async def _config(self, number: int, base: int) -> None:
        name = f"app{number}"
        document = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "source": {"type": "Dockerfile", "dockerfile": "FROM base\n"},
                "strategy": {
                    "type": "Docker",
                    "dockerStrategy": {
                        "from": {"kind": "ImageStreamTag", "name": f"base{base}:latest"}
                    },
                },
                "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
                "triggers": ({"type": "ImageChange", "imageChange": {}},),
            },
        }
        config = await self.store.create(BuildConfig.model_validate(document))
        tag = ObjectReference(kind="ImageStreamTag", namespace=NAMESPACE, name=f"base{base}:latest")
        build = Build(
            metadata=ObjectMeta(
                name=f"{name}-1",
                namespace=NAMESPACE,
                labels={BUILD_CONFIG_LABEL: name},
                annotations={BUILD_NUMBER_ANNOTATION: "1"},
                owner_references=(config.owner_reference(),),
            )
        )
        inputs = (ImageInput(from_=tag, image=_pull_spec(base, "old")),)
        build = build.model_copy(
            update={"spec": build.spec.model_copy(update={"image_inputs": inputs})}
        )
        created = await self.store.create(build)
        ended = created.status.model_copy(update={"phase": BuildPhase.COMPLETE})
        await self.store.update_status(created.with_status(ended))


async def test_one_base_of_ten_thousand_build_configs_changes(ratios: Ratios) -> None:
    setup = BuildConfigsAtScale()
    await setup.fill()
    started = time.process_time()
    async with setup.running():
        print(f"first look at all: {time.process_time() - started:.2f} s of processor")  # noqa: T201
        started = time.process_time()
        await setup.change(0, "new")
        await setup.settle_builds(CONFIGS + AFFECTED)
        watched = time.process_time() - started
    alone = BuildConfigs(BuildIndex(ObjectCache(setup.store)), clock=lambda: datetime.now(UTC))
    key = (await setup.store.get(BuildConfig, NAMESPACE, "app0")).key
    started = time.process_time()
    await alone.reconcile(key)
    listed = (time.process_time() - started) * AFFECTED
    ratio = watched / listed
    print(  # noqa: T201
        f"{AFFECTED} builds of {CONFIGS} BuildConfigs: {watched:.2f} s of processor by the cache,"
        f" {listed:.2f} s by a list of everything for each: ratio {ratio:.3f}"
    )
    ratios.note_cost("a base of 10,000 BuildConfigs, processor of lists for each", ratio)
    assert ratio < 0.1, "a change must cost what it affects, not what there is"


def _named(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=NAMESPACE)


def _pull_spec(base: int, mark: str) -> str:
    return f"registry.internal/{NAMESPACE}/base{base}@{Digest.of(mark.encode())}"
