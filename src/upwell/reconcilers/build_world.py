"""All that decisions about builds look at, read at one moment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.policy.build_triggers import (
    Decision,
    FollowedImage,
    StartBuild,
    Streams,
    decide,
    followed_images,
)
from upwell.policy.graph import Graph, Role, StreamTag, build_graph
from upwell.policy.new_build import Earlier
from upwell.policy.run_policy import newest
from upwell.policy.streams import StreamName
from upwell.store.interface import Store


class World:
    """All ImageStreams, BuildConfigs and Builds at one moment, for decisions that span them."""

    def __init__(
        self,
        streams: Sequence[ImageStream],
        configs: Sequence[BuildConfig],
        builds: Sequence[Build],
    ) -> None:
        self.streams: Streams = {StreamName(s.namespace, s.name): s for s in streams}
        self.configs: Mapping[ObjectKey, BuildConfig] = {c.key: c for c in configs}
        self._builds: dict[ObjectKey, list[Build]] = {}
        self._names: dict[str, set[str]] = {}
        for build in builds:
            self._builds.setdefault(config_of(build), []).append(build)
            self._names.setdefault(build.namespace, set()).add(build.name)
        self._graph: Graph | None = None

    @classmethod
    async def read(cls, store: Store) -> "World":
        """Read everything; configs first, so that no later state judges an earlier one."""
        configs = await store.list(BuildConfig)
        builds = await store.list(Build)
        streams = await store.list(ImageStream)
        return cls(streams.items, configs.items, builds.items)

    @property
    def graph(self) -> Graph:
        """What is built from what."""
        if self._graph is None:
            self._graph = build_graph([*self.streams.values(), *self.configs.values()])
        return self._graph

    def builds(self, config: ObjectKey) -> Sequence[Build]:
        """Return the builds of a BuildConfig."""
        return self._builds.get(config, ())

    def all_builds(self, namespace: str) -> Iterator[Build]:
        """Yield every build in a namespace, whichever BuildConfig it belongs to."""
        for config, builds in self._builds.items():
            if config.namespace == namespace:
                yield from builds

    def earlier(self, config: ObjectKey) -> Earlier:
        """Return what decides the name of the BuildConfig's next build."""
        return Earlier(self.builds(config), self._names.get(config.namespace, frozenset()))

    def followed(self, config: BuildConfig) -> list[FollowedImage]:
        """Return what `config` follows, compared with its newest build."""
        images = self._followed(config)
        cycle = {str(node) for node in self._cycle(config)}
        return [replace(i, cyclic=True) if i.name in cycle else i for i in images]

    def busy_upstream(self, config: ObjectKey) -> list[str]:
        """Name what will soon change an input of `config`: running and due builds above it."""
        found = []
        for key in sorted(self.graph.upstream(config)):
            above = self.configs.get(key)
            if above is None:
                continue
            running = [b for b in self.builds(key) if not b.status.phase.is_terminal]
            if running:
                found += [f"build {build.name}" for build in running]
            elif isinstance(self._due(above), StartBuild):
                found.append(f"BuildConfig {above.name}")
        return found

    def _followed(self, config: BuildConfig) -> list[FollowedImage]:
        return followed_images(config, self.streams, newest(self.builds(config.key)))

    def _cycle(self, config: BuildConfig) -> frozenset[object]:
        """Return the ring that would build itself for ever: all of its inputs are followed."""
        members = self.graph.cycle_of(config.key)
        if not members:
            return frozenset()
        follows = {
            (image.name, key)
            for key, member in self.configs.items()
            if key in members
            for image in self._followed(member)
            if not image.paused
        }
        edges = [
            edge
            for edge in self.graph.edges
            if {edge.source, edge.target} <= members
            and (
                edge.role is Role.OUTPUT
                or (isinstance(edge.target, StreamTag) and edge.automatic)
                or (str(edge.source), edge.target) in follows
            )
        ]
        return frozenset(Graph((), edges).cycle_of(config.key))

    def _due(self, config: BuildConfig) -> Decision:
        is_new = config.status.last_version == 0 and not self.builds(config.key)
        return decide(config, self.followed(config), is_new=is_new, busy=())


def config_of(build: Build) -> ObjectKey:
    """Return the key of the BuildConfig that a build belongs to."""
    name = build.labels.get(BUILD_CONFIG_LABEL, "")
    return ObjectKey(BuildConfig.KIND.kind, build.namespace, name)
