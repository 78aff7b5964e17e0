"""Objects that stand on an image, out of the cache: a call costs as much as what it returns."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectReference, Resource
from upwell.api.pipeline import Freeze, Pipeline, Quarantine
from upwell.api.promotion import Promotion, Release
from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveApproval
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.images.names import UpstreamImage, names_in
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.quarantine import held_by
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.rollouts.triggers import followers_of
from upwell.policy.waves.approval import ApprovalRules, waiting_changes
from upwell.policy.waves.changes import ImageMove, present_moves
from upwell.policy.waves.estimate import Estimate, impact_and_estimate
from upwell.policy.waves.gate import keeps_cancelled
from upwell.policy.waves.impact import Impact, PlannedChange, roots_of, stream_tag
from upwell.policy.waves.stop import holds
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.turns import Recorded

_SLICE = 200
"""Objects that are gathered before others get their turn."""
_EVERY = ""
_WORKLOAD_KINDS = frozenset(kind.KIND.kind for kind in WORKLOADS)


@dataclass(frozen=True, slots=True)
class WaveView:
    """Objects that a change of an image reaches, as they are now."""

    impact: Impact
    snapshot: Snapshot
    estimate: Estimate


class WaveIndex:
    """Waves, and what they are about; it may be late without harm.

    What a Wave holds back is decided by gates that read streams themselves; of what is late here,
    a Wave is made or told of later.
    """

    def __init__(self, builds: BuildIndex, recorded: Recorded | None = None) -> None:
        """`recorded` gives the records of rollouts that another carries out, as they are now."""
        self._recorded = recorded
        self.cache = builds.cache
        self.builds = builds
        self._kinds = {kind.KIND.kind: kind for kind in (BuildConfig, *WORKLOADS)}
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
        return self.builds.waves_of(image)

    def open(self) -> Iterable[ObjectKey]:
        """Yield the Waves that have not ended."""
        return (one.key for one in self._open.get(_EVERY))

    def freezes(self) -> Iterable[Freeze]:
        """Return all Freezes."""
        return self._freezes.get(_EVERY)

    def quarantines(self) -> Iterable[Quarantine]:
        """Return all Quarantines."""
        return self._quarantines.get(_EVERY)

    def unrecorded(self, found: Resource, rules: ApprovalRules) -> Iterable[ImageMove]:
        """Yield the changes above a BuildConfig or workload that wait for approval without a Wave.

        They have none if nothing followed the image when it changed, or their Wave was deleted.
        """
        names = {one.stream_name for one in self.builds.tags_above(found.key)}
        if not isinstance(found, BuildConfig):
            names |= {one.stream for one in followers_of(found).entries}
        for name in names:
            stream = self.cache.get(ImageStream, name.namespace, name.name)
            for one in waiting_changes(stream, self.waves_of, rules) if stream is not None else ():
                if one.wave is None:
                    yield one.move

    async def standing_on(self, image: str) -> list[Resource]:
        """Return all objects that a change of an image of a registry reaches, with their builds."""
        return await self._standing_on(UpstreamImage(image))

    async def _standing_on(self, *starts: Node) -> list[Resource]:
        found: dict[ObjectKey, Resource] = {}
        count = 0
        async for node in self._reached(*starts):
            count += 1
            for item in self._objects(node):
                found[item.key] = item
            if count % _SLICE == 0:
                await asyncio.sleep(0)
        return list(found.values())

    async def _reached(self, *starts: Node) -> AsyncIterator[Node]:
        seen = {*starts}
        waiting = [*starts]
        for node in waiting:  # grows meanwhile
            yield node
            for edge in self.builds.graph.outputs(node):
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
            return (found, *self.builds.builds(node))
        if self._recorded is not None and isinstance(found, WORKLOADS):
            found = self._recorded(found)
        return (found, *self._promoting(found))

    def _promoting(self, workload: Resource) -> Iterable[Resource]:
        """Yield the Pipelines that promote into a workload, with their Releases and Promotions."""
        for key in self.builds.graph.pipelines_in(workload.namespace):
            yield from self._pipelines.get(key)
            yield from self._releases.get((key.namespace, key.name))
            yield from self._promotions.get((key.namespace, key.name))

    async def snapshot(self, image: str) -> Snapshot:
        """Return a snapshot of all that a change of an image reaches."""
        return await asyncio.to_thread(Snapshot, await self.standing_on(image))

    async def look(
        self, image: str, digest: str, now: datetime, at_once: int | None = None
    ) -> WaveView:
        """Return what a change of an image to a digest reaches, and how long that takes."""
        return await self._view(await self.standing_on(image), image, "", digest, now, at_once)

    async def plan(
        self, image: str, namespace: str, digest: str, now: datetime, at_once: int | None = None
    ) -> WaveView:
        """Return the same of an image as a person in a namespace names it: `[NS/]STREAM:TAG`, too.

        The workloads that name it themselves, and so never get a change of it, are among it.
        """
        names = self.builds.graph.names
        starts: list[Node] = [
            one for one in (names.origin(image), stream_tag(image, namespace)) if one
        ]
        named = names_in(ObjectReference(kind=DOCKER_IMAGE, name=image), namespace)
        users = {user for name in named for user in self.builds.graph.users(name)}
        starts += sorted((one for one in users if one.kind in _WORKLOAD_KINDS), key=str)
        objects = await self._standing_on(*starts)
        return await self._view(objects, image, namespace, digest, now, at_once)

    async def _view(
        self,
        objects: list[Resource],
        image: str,
        namespace: str,
        digest: str,
        now: datetime,
        at_once: int | None,
    ) -> WaveView:
        freezes = tuple(self.freezes())
        edges = self.builds.graph.edges_among(objects)

        def rooted() -> tuple[Snapshot, tuple[Node, ...]]:
            snapshot = Snapshot(objects, edges=edges)
            return snapshot, roots_of(snapshot, image, namespace)

        snapshot, roots = await asyncio.to_thread(rooted)
        images = [root.name for root in roots if isinstance(root, UpstreamImage)]
        waves = tuple(wave for name in images for wave in self.waves_of(name))
        followed = {*images, *await self.builds.images_above(*roots)}
        quarantines = tuple(one for one in self.quarantines() if holds(one, followed))
        rules = self.builds.approvals
        will_wait = any(rules.of(name) is WaveApproval.MANUAL for name in images)
        taken = frozenset(
            one for wave in waves if wave.spec.digest == digest for one in wave.digests
        )

        def work() -> WaveView:
            impact, expected = impact_and_estimate(
                snapshot,
                PlannedChange(roots, digest, will_wait, taken),
                now,
                freezes=freezes,
                quarantines=quarantines,
                waves=waves,
                at_once=at_once,
            )
            return WaveView(impact, snapshot, expected)

        return await asyncio.to_thread(work)

    def stands_on(self, wave: Wave) -> Callable[[str], bool]:
        """Return a function that tells whether a pull spec is the image of a Wave, or is on it."""
        digests = set(wave.digests)
        for node in self.builds.graph.outputs(UpstreamImage(wave.spec.image)):
            if isinstance(node.target, StreamTag):
                digests |= self._imported(node.target, wave.spec.digest)
        known = dict.fromkeys(digests, wave)
        return lambda image: held_by(image, known, self.builds.maker) is not None

    def _imported(self, tag: StreamTag, upstream: str) -> set[str]:
        """Return the digest that a tag has of an image of upstream: one manifest's, perhaps."""
        stream = self.cache.get(ImageStream, tag.namespace, tag.stream)
        moves = present_moves(stream) if stream is not None else ()
        return {one.imported for _, one in moves if one.digest == upstream}


def _while_open(wave: Wave) -> tuple[str, ...]:
    is_open = wave.status.phase not in ENDED_WAVES or keeps_cancelled(wave)
    return (_EVERY,) if is_open else ()


def _pipeline_of(one: Release | Promotion) -> tuple[str, str]:
    return (one.namespace, one.spec.pipeline)
