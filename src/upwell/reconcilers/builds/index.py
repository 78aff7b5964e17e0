"""Streams, BuildConfigs and Builds in the cache, found by what they are to each other.

What may be late here is late without harm. A decision reads its streams from the store itself,
after the rest: a build that is seen to have ended is seen with its result. A Build that is not
seen yet holds its name in the store, so that nobody starts it twice.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline, Quarantine
from upwell.api.values.base_changes import OnBaseChange
from upwell.api.waves.wave import Wave
from upwell.controller import ObjectCache
from upwell.policy.builds.push_gates import OUTPUT_RATE_LIMITED
from upwell.policy.builds.run_policy import newest
from upwell.policy.builds.triggers import (
    UPSTREAM_BUILDING,
    ImageBar,
    Streams,
    digest_of,
    followed_tags,
    waits_for_upstream,
)
from upwell.policy.explain.freshness import output_digest
from upwell.policy.explain.graph import Edge, Graph, Node, standing_on
from upwell.policy.explain.live_graph import LiveGraph
from upwell.policy.images.names import (
    UpstreamImage,
    names_of,
    names_read,
    names_written,
)
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.promotion.quarantine import all_held_by, held_by
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.waves.approval import (
    NO_APPROVALS,
    ApprovalRules,
    waiting_digests,
    waits_for_approval,
    with_both,
)
from upwell.policy.waves.changes import present_moves
from upwell.policy.waves.gate import WAITS_FOR_APPROVAL, bar_of_wave, needs_approval
from upwell.policy.waves.stop import holds
from upwell.policy.waves.urgency import urgency_of, urgency_of_build
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.builds.context import BuildContext, config_of
from upwell.reconcilers.images.named_streams import read_streams

_TURN = frozenset({"NoFreeSlot", "RunPolicy", OUTPUT_RATE_LIMITED, UPSTREAM_BUILDING})
"""Reasons of builds that wait for their turn: their inputs are looked at when it comes."""

_MOST_DEPENDENTS = 1_000
"""Dependents that are counted: nobody waits for the count of more."""

_KINDS = (BuildConfig, Build, ImageStream, Quarantine, Wave)


class BuildIndex:
    """Shared by all that reconciles builds; each call costs as much as what it returns."""

    def __init__(
        self,
        cache: ObjectCache,
        on_base_change: OnBaseChange = OnBaseChange.REBUILD,
        approvals: ApprovalRules = NO_APPROVALS,
        authority: Authority = UNASKED,
    ) -> None:
        """`on_base_change` is the answer of BuildConfigs that have none of their own."""
        self._authority = authority
        self.cache = cache
        self._on_base_change = on_base_change
        self.approvals = approvals
        self._waves = cache.index(Wave, lambda wave: (wave.spec.image,))
        self.graph = LiveGraph()
        """Graph of what stands on what; it follows each change."""
        for kind in (ImageStream, BuildConfig, Pipeline, *WORKLOADS):
            self.cache.on_change(kind, self.graph.move)
        self._builds = self.cache.index(Build, lambda build: (config_of(build),))
        self._results = self.cache.index(Build, lambda build: (output_digest(build),))
        self._quarantines: dict[str, dict[str, Quarantine]] = {}
        """By digest and name: several may be of one digest, and so may Waves that keep it back."""
        self.cache.on_change(Quarantine, partial(_keep, self._quarantines))
        self._closed: dict[str, dict[str, Wave]] = {}
        """Waves that keep builds from beginning on their digests."""
        self.cache.on_change(Wave, self._close)
        self._urgent: dict[str, dict[str, Wave]] = {}
        """Waves of some severity, by their digests."""
        self.cache.on_change(Wave, self._rank)
        self._all = self.cache.index(BuildConfig, lambda _: (BuildConfig.KIND.kind,))
        self._unstarted = self.cache.index(Build, _unstarted)
        self._readers = self.cache.index(BuildConfig, names_read)
        self._writers = self.cache.index(BuildConfig, names_written)
        self._waiting = self.cache.index(BuildConfig, _waits)
        self._held = self.cache.index(Build, _held)

    async def context_of(self, config: ObjectKey) -> BuildContext:
        """Return the context of a decision about a BuildConfig; it may not exist."""
        await self.cache.ready(*_KINDS)
        edges = list(self._above(config))
        keys = {config, *(e.source for e in edges if isinstance(e.source, ObjectKey))}
        configs = {
            key: found
            for key in keys
            if (found := self.cache.get(BuildConfig, key.namespace, key.name)) is not None
        }
        builds = {key: tuple(self._builds.get(key)) for key in keys}
        names = {e.source.stream_name for e in edges if isinstance(e.source, StreamTag)}
        for key, found in configs.items():
            named = names_read(found) | names_written(found)
            names |= {name for name in named if isinstance(name, StreamName)}
            followed = followed_tags(found, self.graph.names, newest(builds[key]))
            names |= {tag.stream_name for tag in followed}
        streams = await read_streams(self.cache.store, names)
        waiting = waiting_digests(streams.values(), self.waves_of, self.approvals)
        return BuildContext(
            Graph((config,), edges),
            streams,
            configs,
            builds,
            self.graph.names,
            _BuildNames(self.cache, config.namespace),
            partial(self._bar_of, waiting, _images_of(edges)),
            self._on_base_change,
            await self._refused(configs.values()),
        )

    async def _refused(self, configs: Iterable[BuildConfig]) -> frozenset[ObjectKey]:
        """Return the BuildConfigs that say they write into another namespace, and may not."""
        abroad = [
            config
            for config in configs
            if any(
                isinstance(edge.target, StreamTag) and edge.target.namespace != config.namespace
                for edge in self.graph.outputs(config.key)
            )
        ]
        return frozenset([one.key for one in abroad if await self._authority.refusal(one)])

    def waiting_for_approval(self, streams: Iterable[ImageStream]) -> Mapping[str, ImageBar]:
        """Return what bars the digests of streams whose changes nobody has approved yet."""
        found = dict(waiting_digests(streams, self.waves_of, self.approvals))
        for stream in streams:
            for _, move in present_moves(stream):
                wave = move.covered_by(self.waves_of(move.image))
                if wave is not None and needs_approval(wave) and (bar := bar_of_wave(wave)):
                    for digest in {move.digest, move.imported}:
                        found[digest] = with_both(bar, found.get(digest, bar))
        return found

    async def bar_of_change(self, tag: StreamTag, image: str) -> ImageBar | None:
        """Return what bars the image that a tag names while nobody has approved its change."""
        return held_by(image, await self.unapproved_changes(tag), self.maker)

    async def unapproved_changes(
        self, *tags: StreamTag, known: Streams = MappingProxyType({})
    ) -> Mapping[str, ImageBar]:
        """Return what bars the digests of changes, for what uses some tags.

        The streams that these follow ask for approval too, in whichever namespace they are. `known`
        are streams that are read already.
        """
        await self.cache.ready(*_KINDS)
        names = {one.stream_name for one in self._followed_by(*tags)}
        streams = await read_streams(self.cache.store, names - known.keys())
        return self.waiting_for_approval([*known.values(), *streams.values()])

    async def bar_of_new(self, build: Build, tag: StreamTag, image: str) -> ImageBar | None:
        """Return the same of what a build takes; None if the one before it stands on it already."""
        bar = await self.bar_of_change(tag, image)
        if bar is None:
            return None
        last = newest([one for one in self.builds(config_of(build)) if one.uid != build.uid])
        used = {digest_of(one.reference) for one in last.status.images} if last is not None else ()
        return None if digest_of(image) in used else bar

    def _followed_by(self, *tags: StreamTag) -> Iterator[StreamTag]:
        """Yield tags, those that they follow, and so on."""
        seen, walk = {*tags}, [*tags]
        for one in walk:  # grows meanwhile
            yield one
            for edge in self.graph.inputs(one):
                if isinstance(edge.source, StreamTag) and edge.source not in seen:
                    seen.add(edge.source)
                    walk.append(edge.source)

    def waves_of(self, image: str) -> Collection[Wave]:
        """Return the Waves of an image."""
        return self._waves.get(image)

    def builds(self, config: ObjectKey) -> Collection[Build]:
        """Return the builds of a BuildConfig."""
        return self._builds.get(config)

    def every_config(self) -> list[ObjectKey]:
        """Return all BuildConfigs."""
        return [config.key for config in self._all.get(BuildConfig.KIND.kind)]

    def maker(self, digest: str) -> Build | None:
        """Return the build whose result has this digest."""
        return next(iter(self._results.get(digest)), None)

    async def coming(self, tag: StreamTag) -> list[str]:
        """Name the builds that will soon change what `tag` names: those that run, or are due."""
        await self.cache.ready(*_KINDS)
        found: list[str] = []
        for edge in self.graph.inputs(tag):
            if isinstance(edge.source, ObjectKey):
                found += (await self.context_of(edge.source)).busy(edge.source)
        return found

    def without_inputs(self) -> Collection[Build]:
        """Return the builds that may wait for an object: those that wait for their turn do not."""
        return self._unstarted.get(BuildPhase.NEW)

    def followers(self, stream: ImageStream) -> Iterator[ObjectKey]:
        """Yield the BuildConfigs that a change of `stream` may concern."""
        for name in names_of(stream):
            for config in (*self._readers.get(name), *self._writers.get(name)):
                yield config.key

    def unapproved(self) -> list[ObjectKey]:
        """Return the BuildConfigs that wait for the approval of a change."""
        return [config.key for config in self._waiting.get(WAITS_FOR_APPROVAL)]

    def waiting_below(self, config: ObjectKey) -> list[ObjectKey]:
        """Return the BuildConfigs downstream of `config` that wait for a build above them."""
        if not self._waiting.get(UPSTREAM_BUILDING):
            return []
        waiting = {one.key for one in self._waiting.get(UPSTREAM_BUILDING)}
        return [below for below in self._below(config) if below in waiting]

    def held(self) -> list[ObjectKey]:
        """Return all queued builds that wait for newer inputs."""
        return [build.key for build in self._held.get(UPSTREAM_BUILDING)]

    def held_below(self, config: ObjectKey) -> list[ObjectKey]:
        """Return the queued builds of `config`, or downstream of it, that wait for newer inputs."""
        held = self._held.get(UPSTREAM_BUILDING)
        if not held:
            return []
        below = {config, *self._below(config)}
        return [build.key for build in held if config_of(build) in below]

    def dependents(self, config: ObjectKey) -> int:
        """Return how many BuildConfigs and workloads stand on what `config` makes."""
        return sum(1 for _ in islice(self._below(config), _MOST_DEPENDENTS))

    def _below(self, config: ObjectKey) -> Iterator[ObjectKey]:
        return standing_on(config, self.graph.outputs)

    def tags_above(self, config: ObjectKey) -> Iterator[StreamTag]:
        """Yield every tag on a way to `config`."""
        for edge in self._above(config):
            if isinstance(edge.source, StreamTag):
                yield edge.source

    async def images_above(self, *nodes: Node) -> frozenset[str]:
        """Return the images of registries whose changes reach one of these nodes."""
        await self.cache.ready(*_KINDS)
        return _images_of(self._above(*nodes))

    def _above(self, *nodes: Node) -> Iterator[Edge]:
        """Yield every edge on a way to these nodes."""
        seen: set[Node] = {*nodes}
        walk: list[Node] = [*nodes]
        while walk:
            for edge in self.graph.inputs(walk.pop()):
                yield edge
                if edge.source not in seen:
                    seen.add(edge.source)
                    walk.append(edge.source)

    def _bar_of(
        self, waiting: Mapping[str, ImageBar], images: Container[str], image: str
    ) -> ImageBar | None:
        """Return the bar of a pull spec, for what follows these images of registries."""
        quarantines = all_held_by(image, self._quarantines, self.maker)
        for quarantine in (one for of in quarantines for one in of.values()):
            if holds(quarantine, images):
                return _bar_of_quarantine(quarantine)
        closed = all_held_by(image, self._closed, self.maker)
        waves = (one for of in closed for one in of.values() if holds(one, images))
        bar = next((bar for one in waves if (bar := bar_of_wave(one))), None)
        also = held_by(image, waiting, self.maker)
        return with_both(bar, also) if also is not None else bar

    def _rank(self, before: Wave | None, after: Wave | None) -> None:
        ranks = after is not None and bool(urgency_of(after))
        _keep(self._urgent, before, after if ranks else None)

    def urgency(self, build: Build) -> tuple[int, int]:
        """Return the urgency of what a build builds on: by the Waves, and by its own namespace."""
        names = {tag.stream_name for tag in self.tags_above(config_of(build))}
        own = (name for name in names if name.namespace == build.namespace)
        streams = [self.cache.get(ImageStream, name.namespace, name.name) for name in own]
        found = (one for one in streams if one is not None)
        return urgency_of_build(build, self._urgent, self.maker, found)

    def _close(self, before: Wave | None, after: Wave | None) -> None:
        holds = after is not None and bar_of_wave(after) is not None
        _keep(self._closed, before, after if holds else None)


def _keep[H: (Quarantine, Wave)](
    held: dict[str, dict[str, H]], before: H | None, after: H | None
) -> None:
    """Take a change in of what holds a digest back."""
    if before is not None:
        for digest in _digests_of(before):
            of_digest = held.get(digest, {})
            of_digest.pop(before.name, None)
            if not of_digest:
                held.pop(digest, None)
    if after is not None:
        for digest in _digests_of(after):
            held.setdefault(digest, {})[after.name] = after


def _digests_of(found: Quarantine | Wave) -> Iterable[str]:
    """Return the digests that are held back."""
    return found.digests if isinstance(found, Wave) else (found.spec.digest,)


def _images_of(edges: Iterable[Edge]) -> frozenset[str]:
    """Return the images of registries that edges come from."""
    return frozenset(one.source.name for one in edges if isinstance(one.source, UpstreamImage))


def _bar_of_quarantine(found: Quarantine) -> ImageBar:
    base = found.spec.image or found.spec.digest
    return ImageBar(
        "Quarantined",
        f"depends on {base}, which is in Quarantine {found.name}: {found.spec.reason};"
        f" `upwell quarantine lift {found.name}` ends it",
    )


@dataclass(frozen=True, slots=True)
class _BuildNames:
    """The names that Builds of a namespace have."""

    cache: ObjectCache
    namespace: str

    def __contains__(self, name: object) -> bool:
        return self.cache.get(Build, self.namespace, str(name)) is not None


def _unstarted(build: Build) -> Iterable[BuildPhase]:
    waits = build.status.phase is BuildPhase.NEW and build.status.reason not in _TURN
    return (BuildPhase.NEW,) if waits else ()


def _held(build: Build) -> Iterable[str]:
    waits = build.status.phase is BuildPhase.NEW and build.status.reason == UPSTREAM_BUILDING
    return (UPSTREAM_BUILDING,) if waits else ()


def _waits(config: BuildConfig) -> Iterable[str]:
    if waits_for_upstream(config):
        return (UPSTREAM_BUILDING,)
    return (WAITS_FOR_APPROVAL,) if waits_for_approval(config) else ()
