"""Freshness of objects: in step with what they follow, or behind, and what they wait for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import chain

from upwell.api import conditions
from upwell.api.apps import CronJob
from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.core import Service
from upwell.api.image import ImageStream, NamedTagEventList, TagEvent
from upwell.api.meta import ObjectKey, Resource
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.builds.backlog import (
    Backlog,
    BuildTurn,
    Urgency,
    backlog_of,
    no_urgency,
    turns_of,
)
from upwell.policy.builds.run_policy import number_of
from upwell.policy.builds.triggers import FollowedTag, digest_of, followed_images
from upwell.policy.cluster_rollouts.deployment_configs import images_of_template
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out, taken_text
from upwell.policy.cluster_rollouts.note import RolloutNote, failures_text
from upwell.policy.explain.graph import Edge, Graph, Node, build_graph
from upwell.policy.explain.image_policies import PolicyRecord, PolicyRecords
from upwell.policy.explain.lineage import PromotionLineage, StagePlacement, stage_by_note
from upwell.policy.health.builds import outcome_of
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.health.judgement import faults_of
from upwell.policy.images.names import ImageNames, ImageNode
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.rollouts.summary import RolloutState, rollout_of, serving
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, followers_of, hold_text

type Follower = Workload | CronJob
"""Object that may follow tags, or get its images by a Pipeline."""

SHORT_DIGEST = 12


@dataclass(frozen=True, slots=True)
class Freshness:
    """State of an object against the changes upstream; `behind` counts those that it misses."""

    behind: int = 0
    waits_for: str = ""
    """Reason of the wait for the missing changes; empty when none is missing or it is not known."""
    unknown: str = ""
    """Reason why changes may be missing that cannot be read; empty when all are known."""

    @property
    def is_current(self) -> bool:
        """True if no change is missing, as far as all are known."""
        return not self.behind and not self.unknown

    def __str__(self) -> str:
        if self.unknown and not self.behind:
            return f"unknown: {self.unknown}"
        if not self.behind:
            return "current"
        return f"behind by {self.behind}" + (f": {self.waits_for}" if self.waits_for else "")


class Snapshot:
    """The objects of one moment, found by what they are to each other.

    `namespace` is the only one whose objects could be read; empty: those of all are known.
    """

    def __init__(
        self,
        objects: Iterable[Resource],
        namespace: str = "",
        edges: Iterable[Edge] | None = None,
    ) -> None:
        """`edges` are those of the objects, if they are known."""
        known = list(objects)
        self._objects = known
        self._namespace = namespace
        self.lineage = PromotionLineage(known)
        self.streams: Mapping[StreamName, ImageStream] = {
            StreamName(item.namespace, item.name): item
            for item in known
            if isinstance(item, ImageStream)
        }
        self._image_names = ImageNames(self.streams.values())
        self.graph: Graph = build_graph(known, self._image_names, edges)
        self.configs: Mapping[ObjectKey, BuildConfig] = {
            item.key: item for item in known if isinstance(item, BuildConfig)
        }
        self.workloads: Mapping[ObjectKey, Workload] = {
            item.key: as_rolled_out(item) for item in known if isinstance(item, WORKLOADS)
        }
        self.cron_jobs: Mapping[ObjectKey, CronJob] = {
            item.key: item for item in known if isinstance(item, CronJob)
        }
        self.services: Mapping[ObjectKey, Service] = {
            item.key: item for item in known if isinstance(item, Service)
        }
        self._builds: dict[ObjectKey, list[Build]] = defaultdict(list)
        builds = [item for item in known if isinstance(item, Build)]
        for build in sorted(builds, key=number_of, reverse=True):
            name = build.labels.get(BUILD_CONFIG_LABEL, "")
            self._builds[ObjectKey(BuildConfig.KIND.kind, build.namespace, name)].append(build)

    @cached_property
    def policies(self) -> PolicyRecords:
        """The verdicts that image policies have reached."""
        return PolicyRecords(self._objects)

    @cached_property
    def faults(self) -> Sequence[HealthFault]:
        """The faults of all objects."""
        return tuple(fault for item in self._objects for fault in faults_of(item))

    def backlog(self, now: datetime) -> Backlog:
        """Return how many builds wait, and how long all of them will take."""
        return backlog_of(self._builds.values(), now)

    def turns(self, now: datetime, urgency: Urgency = no_urgency) -> Mapping[ObjectKey, BuildTurn]:
        """Return whose turn is when, of the builds that wait for a slot."""

        def dependents(config: ObjectKey) -> int:
            return sum(isinstance(node, ObjectKey) for node in self.graph.descendants(config))

        return turns_of(self._builds.values(), now, dependents, urgency)

    @cached_property
    def endless(self) -> Sequence[Sequence[Node]]:
        """The rings of BuildConfigs that would build themselves endlessly: each follows the last.

        A ring in which somebody has to start a build is none of them.
        """
        followed = {
            (image.name, key)
            for key, config in self.configs.items()
            for image in self.built_from(config)
            if not image.paused
        }
        return self.graph.of_changes(followed).cycles

    def faults_about(self, key: ObjectKey, part: str = "") -> Sequence[HealthFault]:
        """Return the faults of an object, or of a part of it."""
        return [one for one in self._faults_of.get(key, ()) if part in {"", one.part}]

    @cached_property
    def _faults_of(self) -> Mapping[ObjectKey, Sequence[HealthFault]]:
        found: dict[ObjectKey, list[HealthFault]] = defaultdict(list)
        for one in self.faults:
            found[one.key].append(one)
        return found

    def builds(self, config: ObjectKey) -> Sequence[Build]:
        """Return a BuildConfig's builds, newest first."""
        return self._builds.get(config, [])

    def every_build(self) -> Iterator[Build]:
        """Yield the builds of all BuildConfigs."""
        return chain.from_iterable(self._builds.values())

    def history(self, tag: StreamTag) -> NamedTagEventList | None:
        """Return the digests of a tag."""
        stream = self.streams.get(StreamName(tag.namespace, tag.stream))
        return stream.status.tag(tag.tag) if stream is not None else None

    def is_followed(self, tag: StreamTag) -> bool:
        """Return False for a tag that is imported, and whose import is never repeated."""
        stream = self.streams.get(StreamName(tag.namespace, tag.stream))
        declared = effective_tags(stream) if stream is not None else ()
        return not any(
            one.name == tag.tag and one.imports and "@" not in one.imports and not one.scheduled
            for one in declared
        )

    def latest(self, tag: StreamTag) -> TagEvent | None:
        """Return the digest of a tag that is in force."""
        history = self.history(tag)
        return history.latest if history is not None else None

    def built_from(self, config: BuildConfig) -> Sequence[FollowedTag]:
        """Return what a BuildConfig follows, as it is now and as the newest build used it."""
        newest = next(iter(self.builds(config.key)), None)
        return followed_images(config, self.streams, self._image_names, newest)

    def origin(self, image: str) -> ImageNode | None:
        """Return where `image` is pulled from: a tag of the internal registry, or an upstream.

        By its complete name, without a digest; None if it is no name of an image.
        """
        try:
            return self._image_names.origin(str(replace(Reference.parse(image), digest=None)))
        except InvalidReferenceError:
            return None

    def producer_of(self, image: str) -> Build | None:
        """Return the build whose result has this digest."""
        return self._producers.get(digest_of(image))

    @cached_property
    def _producers(self) -> Mapping[str, Build]:
        found: dict[str, Build] = {}
        for build in self.every_build():
            if digest := output_digest(build):
                found.setdefault(digest, build)
        return found

    def config_freshness(self, config: BuildConfig) -> Freshness:
        """Say whether the newest image of `config` is made of what its inputs are now."""
        newest = next(iter(self.builds(config.key)), None)
        changed = [image for image in self.built_from(config) if image.changed]
        if newest is not None and not newest.status.phase.is_terminal:
            return Freshness(1, f"build {newest.name} ({newest.status.phase})")
        condition = conditions.find(config.status.conditions, "Current")
        if changed:
            held = condition is not None and not condition.is_true
            waits_for = condition.message if condition and held else "a build to start"
            return Freshness(len(changed), waits_for)
        if newest is not None and newest.status.phase is not BuildPhase.COMPLETE:
            return Freshness(1, outcome_of(newest))
        blocked = [
            fault
            for fault in self.faults_about(config.key)
            if fault.event is FaultEvent.BUILD_BLOCKED
        ]
        if blocked:  # nothing is followed any more
            return Freshness(1, blocked[0].message)
        if newest is None and condition is not None and not condition.is_true:
            return Freshness(1, condition.message)
        return Freshness()

    def workload_freshness(self, workload: Follower) -> Freshness:
        """Say whether `workload` runs the newest of what it follows, builds to come included."""
        place = self.lineage.placement(workload)
        if place is not None:
            return self._promoted_freshness(workload, place)
        runs = isinstance(workload, CronJob) or serving(workload) is not None
        if runs and (stage := self.unread_stage(workload)):
            return Freshness(unknown=f"{stage} sets its images, and your token cannot read it")
        behind = sum(missing for _, missing in self._missing(workload))
        coming = list(self._coming(workload))
        unknown = self._unknown(workload)
        if not behind and not coming and runs:
            return Freshness(unknown=unknown)
        if not behind and not coming:
            return Freshness(1, self._keeps(workload))
        if behind:
            return Freshness(behind + len(coming), self._keeps(workload))
        return Freshness(len(coming), coming[0])

    def _promoted_freshness(self, workload: Follower, place: StagePlacement) -> Freshness:
        """Say whether `workload` runs the newest Release that may come into its stage."""
        if newer := self.lineage.newer(place):
            return Freshness(newer, place.status.waits_for)
        coming = list(self._coming(workload))
        return Freshness(len(coming), coming[0]) if coming else Freshness()

    def unread_stage(self, workload: Follower) -> str:
        """Return the stage that sets a workload's images and cannot be read; empty: none."""
        if not self._namespace or self.lineage.placement(workload) is not None:
            return ""
        return stage_by_note(workload, self._namespace)

    def _unknown(self, workload: Follower) -> str:
        """Say which followed tag cannot be read, unless the server says that it is in force."""
        triggered = conditions.find(workload.status.conditions, IMAGE_TRIGGERED)
        if not self._namespace or (triggered is not None and triggered.is_true):
            return ""
        tags = [one.tag for one in followers_of(workload).entries]
        unread = next((tag for tag in tags if tag.namespace != self._namespace), None)
        return f"your token cannot read ImageStreamTag {unread}" if unread is not None else ""

    def running(self, workload: Follower) -> Mapping[str, str]:
        """Return the image of each container that serves, or that the next Job has: pull specs."""
        if isinstance(workload, CronJob):
            return images_of_template(workload.spec.job_template.spec.template)
        revision = serving(workload)
        return revision.images if revision is not None else {}

    def next_images(self, workload: Follower) -> Sequence[str]:
        """Return what a workload is to run and does not yet, each image once: pull specs, digests.

        That is what its template names by digest, what its tags are now, or the newest Release.
        """
        place = self.lineage.placement(workload)
        if place is not None:
            found = list(self.lineage.newest_images(place))
        else:
            template = pod_template(workload)
            named = template.spec.containers if template is not None else ()
            found = [one.image for one in named if "@" in one.image]
            followed = () if self.unread_stage(workload) else followers_of(workload).entries
            latest = [self.latest(one.tag) for one in followed]
            found += [event.image for event in latest if event is not None]
        running = {digest_of(image) for image in self.running(workload).values()}
        return [
            one
            for one in {digest_of(i): i for i in found}.values()
            if digest_of(one) not in running
        ]

    def verdicts(self, workload: Follower) -> Sequence[PolicyRecord]:
        """Return what image policies say of what a workload runs, and is to run next."""
        images = (*self.running(workload).values(), *self.next_images(workload))
        return [
            record
            for image in dict.fromkeys(images)
            for record in self.policies.about(image, workload.namespace)
        ]

    def _missing(self, workload: Follower) -> Iterator[tuple[StreamTag, int]]:
        """Yield each followed tag with the number of its digests newer than what serves."""
        running = self.running(workload)
        for follower in followers_of(workload).entries:
            tag = follower.tag
            history = self.history(tag)
            image = running.get(follower.slot[0])
            if history is None or not history.items:
                continue
            digests = [event.image for event in history.items]
            digest = digest_of(image) if image else ""
            yield tag, digests.index(digest) if digest in digests else 1

    def _coming(self, workload: Follower) -> Iterator[str]:
        """Yield what each BuildConfig upstream that is behind waits for, the nearest first."""
        near_first = sorted(
            (self.configs[key] for key in self._upstream(workload) if key in self.configs),
            key=lambda config: -self.graph.place_of(config.key),
        )
        for config in near_first:
            freshness = self.config_freshness(config)
            if freshness.behind:
                yield freshness.waits_for

    def _upstream(self, workload: Follower) -> set[ObjectKey]:
        found: set[ObjectKey] = set()
        for edge in self.graph.inputs(workload.key):
            if isinstance(edge.source, StreamTag):
                for config in self.graph.producers(edge.source):
                    found |= {config, *self.graph.upstream(config)}
        return found

    def _keeps(self, workload: Follower) -> str:
        """Say what keeps a workload from the image that its tag has already."""
        triggered = conditions.find(workload.status.conditions, IMAGE_TRIGGERED)
        if hold := hold_text(workload):
            return f"held: {hold}"
        if triggered is not None and not triggered.is_true:
            return triggered.message
        if not isinstance(workload, CronJob):
            rollout = rollout_of(workload)
            if rollout.state is not RolloutState.COMPLETE:
                return rollout.text
        coming = {digest_of(image) for image in self.next_images(workload)}
        note = RolloutNote.of(workload)
        failed = [one for one in note.failures if digest_of(one.image) in coming]
        return failures_text(workload, failed) or taken_text(workload) or "the next rollout"


def output_digest(build: Build) -> str:
    """Return the digest of what a build has pushed; empty when it has pushed nothing."""
    output = build.status.output
    return output.to.image_digest if output is not None and output.to is not None else ""


def short(image: str) -> str:
    """Return the first digits of the digest in a digest or pull spec, as people compare them."""
    digest = digest_of(image)
    algorithm, colon, digits = digest.partition(":")
    return digits[:SHORT_DIGEST] if colon and algorithm.startswith("sha") else image


def images_of(build: Build) -> Sequence[str]:
    """Return the images that a build takes, each once: pull specs with digest."""
    named = [one.reference for one in build.status.images]
    named += [one.image for one in build.spec.image_inputs]
    return list({digest_of(image): image for image in named}.values())
