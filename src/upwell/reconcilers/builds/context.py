"""Context of a decision about one BuildConfig."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectKey
from upwell.api.values.base_changes import OnBaseChange
from upwell.policy.builds.base_changes import with_notified_base
from upwell.policy.builds.failures import waits_for_retry
from upwell.policy.builds.new_build import Earlier
from upwell.policy.builds.run_policy import newest, only_image_changes
from upwell.policy.builds.triggers import (
    Decision,
    FollowedTag,
    ImageBar,
    StartBuild,
    Streams,
    base_image,
    decide,
    digest_of,
    followed_images,
    has_built_since,
    images_besides,
    may_renew,
    waiting_since,
)
from upwell.policy.explain.graph import Graph
from upwell.policy.images.imported import change_behind
from upwell.policy.images.names import ImageNames
from upwell.policy.images.streams import StreamTag
from upwell.policy.waves.gate import WAITS_FOR_APPROVAL
from upwell.reconcilers.authority import MISSING_RIGHT


@dataclass(frozen=True, slots=True)
class BuildContext:
    """A BuildConfig, what stands above it, and their builds."""

    graph: Graph
    """Graph of builds upstream of the BuildConfig."""
    streams: Streams
    configs: Mapping[ObjectKey, BuildConfig]
    builds_of: Mapping[ObjectKey, Sequence[Build]]
    """The builds of each of `configs`."""
    image_names: ImageNames
    taken: Container[str]
    """The names of all Builds in the BuildConfig's namespace."""
    bar_of: Callable[[str], ImageBar | None] = lambda _image: None
    """Returns what keeps an image, by its pull spec, out of builds."""
    on_base_change: OnBaseChange = OnBaseChange.REBUILD
    """Answer to a change of a base where the BuildConfig has none of its own."""
    refused: Container[ObjectKey] = frozenset()
    """BuildConfigs that may not write into the other namespace that they say: no input of anyone's
    comes from them."""

    def builds(self, config: ObjectKey) -> Sequence[Build]:
        """Return the builds of a BuildConfig."""
        return self.builds_of.get(config, ())

    def earlier(self, config: ObjectKey) -> Earlier:
        """Return what decides the name of the BuildConfig's next build."""
        return Earlier(self.builds(config), self.taken)

    def followed(self, config: BuildConfig, *, without: Build | None = None) -> list[FollowedTag]:
        """Return what `config` follows, compared with its newest build, `without` one of them."""
        images = self._followed(config, without)
        cycle = {str(node) for node in self._cycle(config)}
        return [
            replace(i, cyclic=i.name in cycle, barred=self._bar(i)) if i.now else i for i in images
        ]

    def unapproved(self, config: BuildConfig) -> list[str]:
        """Say which images a build of `config` would take though they wait for an approval."""
        return [
            f"{image.name} {image.barred.message}"
            for image in (*self.followed(config), *self.besides(config))
            if image.barred is not None and image.barred.reason == WAITS_FOR_APPROVAL
        ]

    def besides(self, config: BuildConfig) -> list[FollowedTag]:
        """Return what a build of `config` reads, does not follow, and has to be approved."""
        last = newest(self.builds(config.key))
        base = base_image(config, self.streams, last)
        read = [] if base is None else [base]
        read += images_besides(config, self.streams, self.image_names, last)
        followed = {image.name for image in self._followed(config)}
        barred = (
            replace(one, barred=self._bar(one))
            for one in read
            if one.now and one.name not in followed
        )
        waiting = (one for one in barred if one.barred is not None)
        return [one for one in waiting if one.barred and one.barred.reason == WAITS_FOR_APPROVAL]

    def _bar(self, image: FollowedTag) -> ImageBar | None:
        """Return what bars the present image."""
        bar = self._bar_of_present(image)
        if bar is None or not bar.new_alone or image.built is None:
            return bar
        same = digest_of(image.now or "") == digest_of(image.built)
        return None if same or self.bar_of(image.built) == bar else bar

    def _bar_of_present(self, image: FollowedTag) -> ImageBar | None:
        """Return what bars the present image, or the upstream image that it is a part of."""
        tag = StreamTag.of(image.reference, "")
        stream = self.streams.get(tag.stream_name)
        history = stream.status.tag(tag.tag) if stream is not None else None
        state = history.import_state if history is not None else None
        change = change_behind(history) if history is not None else None
        present = digest_of(image.now or "")
        bar = self.bar_of(image.now or "")
        if bar is None and change is not None:
            bar = self.bar_of(change.digest)
        if bar is None and state is not None and state.imported_digest == present:
            return self.bar_of(state.upstream_digest)
        return bar

    def busy_upstream(self, config: ObjectKey) -> list[str]:
        """Name what will soon change an input of `config`: running and due builds above it.

        While images move without end something always is under way: so what has been built since
        `config` began to wait is not waited for again.
        """
        return self._busy_above(config, waiting_since(self.configs.get(config)))

    def _busy_above(self, config: ObjectKey, since: datetime | None) -> list[str]:
        found = []
        for key in sorted(self.graph.upstream(config)):
            if since is None or not has_built_since(self.builds(key), since):
                found += self.coming(key)
        return found

    def awaited_inputs(self, build: Build) -> str | None:
        """Say what a queued build waits for, as it would be made of inputs that are outdated soon.

        It has the newest ones by then. None: nothing, as for a build that a person asked for. What
        was built while this build waited is not waited for again.
        """
        config = self.configs.get(config_of(build))
        since = build.metadata.creation_timestamp
        if config is None or since is None or not only_image_changes(build):
            return None
        if found := self._busy_above(config.key, since):
            return f"waits for {', '.join(found)}: its result is an input"
        last = newest(self.builds(config.key))
        if last is None or last.uid != build.uid or not may_renew(config):
            return None
        is_due = isinstance(
            decide(
                config,
                self.followed(config),
                is_new=False,
                busy=(),
                besides=self.besides(config),
            ),
            StartBuild,
        )
        return (
            "waits for its newest inputs: they have changed since it was queued" if is_due else None
        )

    def busy(self, config: ObjectKey) -> list[str]:
        """Name what will soon change the result of `config`: its own builds, and those above it."""
        return [*self.busy_upstream(config), *self.coming(config)]

    def coming(self, key: ObjectKey) -> list[str]:
        """Name what a BuildConfig is about to make of which others may expect an input."""
        return [] if key in self.refused else self._under_way(key)

    def _under_way(self, key: ObjectKey) -> list[str]:
        config = self.configs.get(key)
        if config is None:
            return []
        builds = self.builds(key)
        # One that waits for its next attempt, or for a right, may do so for long.
        unended = [one for one in builds if not one.status.phase.is_terminal]
        running = [one for one in unended if not (waits_for_retry(one) or waits_for_right(one))]
        if running:
            return [f"build {one.name}" for one in running]
        if unended:
            return []
        return [f"BuildConfig {key.name}"] if isinstance(self._due(config), StartBuild) else []

    def _followed(self, config: BuildConfig, without: Build | None = None) -> list[FollowedTag]:
        builds = [b for b in self.builds(config.key) if without is None or b.name != without.name]
        found = followed_images(config, self.streams, self.image_names, newest(builds))
        return with_notified_base(config, builds, found, self.on_base_change)

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
        return frozenset(self.graph.of_changes(follows).cycle_of(config.key))

    def _due(self, config: BuildConfig) -> Decision:
        is_new = config.status.last_version == 0 and not self.builds(config.key)
        besides = self.besides(config)
        return decide(config, self.followed(config), is_new=is_new, busy=(), besides=besides)


def config_of(build: Build) -> ObjectKey:
    """Return the key of the BuildConfig that a build belongs to."""
    name = build.labels.get(BUILD_CONFIG_LABEL, "")
    return ObjectKey(BuildConfig.KIND.kind, build.namespace, name)


def waits_for_right(build: Build) -> bool:
    """Return True if the build may not begin until somebody is granted a right."""
    return build.status.phase is BuildPhase.NEW and build.status.reason == MISSING_RIGHT
