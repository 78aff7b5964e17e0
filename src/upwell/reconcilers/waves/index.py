"""Objects that stand on an image, out of the cache: a call costs as much as what it returns."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from upwell.api.build import Build, BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, Release
from upwell.api.waves.wave import ENDED_WAVES, Wave
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.images.streams import StreamTag
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.reconcilers.builds.index import BuildIndex

_SLICE = 200
"""Objects that are gathered before others get their turn."""
_EVERY = ""


class WaveIndex:
    """Waves, and what they are about; it may be late without harm, as nothing is decided by it."""

    def __init__(self, builds: BuildIndex) -> None:
        self.cache = builds.cache
        self._builds = builds
        self._kinds = {kind.KIND.kind: kind for kind in (BuildConfig, *WORKLOADS)}
        self._waves = self.cache.index(Wave, lambda wave: (wave.spec.image,))
        self._open = self.cache.index(Wave, _while_open)
        self._freezes = self.cache.index(Freeze, lambda _: (_EVERY,))
        self._quarantines = self.cache.index(Quarantine, lambda _: (_EVERY,))
        self._pipelines = self.cache.index(Pipeline, lambda one: (one.key,))
        self._releases = self.cache.index(Release, lambda one: (_pipeline_of(one),))
        self._promotions = self.cache.index(Promotion, lambda one: (_pipeline_of(one),))

    async def ready(self) -> None:
        """Wait until all kinds were listed."""
        kinds = (ImageStream, Build, *self._kinds.values(), Freeze, Quarantine, Pipeline)
        await self.cache.ready(*kinds, Release, Promotion, Wave)

    def waves_of(self, image: str) -> Iterable[Wave]:
        """Return the Waves of an image."""
        return self._waves.get(image)

    def open(self) -> Iterable[ObjectKey]:
        """Yield the Waves that have not ended."""
        return (one.key for one in self._open.get(_EVERY))

    def freezes(self) -> Iterable[Freeze]:
        """Return all Freezes."""
        return self._freezes.get(_EVERY)

    def quarantines(self) -> Iterable[Quarantine]:
        """Return all Quarantines."""
        return self._quarantines.get(_EVERY)

    async def standing_on(self, image: str) -> list[Resource]:
        """Return all objects that a change of an image of a registry reaches, with their builds."""
        found: dict[ObjectKey, Resource] = {}
        count = 0
        async for node in self._reached(UpstreamImage(image)):
            count += 1
            for item in self._objects(node):
                found[item.key] = item
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        return list(found.values())

    async def _reached(self, start: Node) -> AsyncIterator[Node]:
        seen = {start}
        waiting = [start]
        for node in waiting:  # grows meanwhile
            yield node
            for edge in self._builds.graph.outputs(node):
                if edge.target not in seen:
                    seen.add(edge.target)
                    waiting.append(edge.target)

    def _objects(self, node: Node) -> Iterable[Resource]:
        if isinstance(node, StreamTag):
            stream = self.cache.get(ImageStream, node.namespace, node.stream)
            return (stream,) if stream is not None else ()
        if not isinstance(node, ObjectKey):
            return ()
        found = self.cache.get(self._kinds[node.kind], node.namespace, node.name)
        if found is None:
            return ()
        if isinstance(found, BuildConfig):
            return (found, *self._builds.builds(node))
        return (found, *self._promoting(found))

    def _promoting(self, workload: Resource) -> Iterable[Resource]:
        """Yield the Pipelines that promote into a workload, with their Releases and Promotions."""
        for key in self._builds.graph.pipelines_in(workload.namespace):
            yield from self._pipelines.get(key)
            yield from self._releases.get((key.namespace, key.name))
            yield from self._promotions.get((key.namespace, key.name))

    async def snapshot(self, image: str) -> Snapshot:
        """Return a snapshot of all that a change of an image reaches."""
        return await asyncio.to_thread(Snapshot, await self.standing_on(image))


def _while_open(wave: Wave) -> tuple[str, ...]:
    return () if wave.status.phase in ENDED_WAVES else (_EVERY,)


def _pipeline_of(one: Release | Promotion) -> tuple[str, str]:
    return (one.namespace, one.spec.pipeline)
