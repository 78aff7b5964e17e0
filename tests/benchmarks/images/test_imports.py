"""Time that a thousand scheduled tags of one real registry take to settle."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.benchmarks.images.test_registry_client import with_sockets
from tests.support.benchmarks.ratios import Ratios
from tests.support.registry.docker_registry import docker_registry, push_image

from upwell.api.image import ImageStream, ImageStreamSpec, ImportPolicy, TagReference
from upwell.api.meta import ObjectKey, ObjectMeta, ObjectReference
from upwell.controller import ObjectCache
from upwell.oci import Platform, Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.client.client import RegistryClient
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryLimits
from upwell.store.memory import MemoryStore

pytestmark = pytest.mark.benchmark

STREAMS, TAGS = 100, 10


async def test_a_thousand_tags_settle(tmp_path: Path, ratios: Ratios) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = MemoryStore(lambda: now[0])
    keys = []
    async with docker_registry(tmp_path) as host:
        for number in range(STREAMS):
            tags = [f"t{tag}" for tag in range(TAGS)]
            await push_image(host, f"team/app{number}", *tags)
            stream = ImageStream(
                metadata=ObjectMeta(name=f"app{number}", namespace="shop"),
                spec=ImageStreamSpec(tags=tuple(_tag(host, number, tag) for tag in tags)),
            )
            keys.append(ObjectKey("ImageStream", "shop", stream.name))
            await store.create(stream)
        hosts = RegistryHosts([RegistryHost(host, limits=RegistryLimits(concurrency=64))])
        async with RegistryClient(unrestricted(), hosts) as client:
            streams = ImageStreams(
                ObjectCache(store),
                client,
                EmbeddedRegistry(tmp_path / "own", "registry.internal"),
                PullSecrets(store),
                ImportSchedule(),
                clock=lambda: now[0],
                platforms=[Platform("linux", "amd64")],
            )
            names = [f"{host}/team/app{n}:t{tag}" for n in range(STREAMS) for tag in range(TAGS)]
            cpu = time.process_time()
            await with_sockets([*map(Reference.parse, names)])
            bare = time.process_time() - cpu
            for round_ in ("first import", "check without news"):
                started, cpu = time.perf_counter(), time.process_time()
                for key in keys:
                    await streams.reconcile(key)
                seconds, used = time.perf_counter() - started, time.process_time() - cpu
                print(f"{round_}: {seconds:.2f} s, {used:.2f} s of processor")  # noqa: T201
                ratios.note_cost(f"{round_} in a process, processor of bare HEADs", used / bare)
                now[0] += timedelta(hours=1)


def _tag(host: str, number: int, tag: str) -> TagReference:
    return TagReference(
        name=tag,
        from_=ObjectReference(kind="DockerImage", name=f"{host}/team/app{number}:{tag}"),
        import_policy=ImportPolicy(scheduled=True),
    )
