"""Waves of a simulated fleet: which builds and rollouts of it have the change, and which may go on.

The decisions are the server's own: statuses of Waves (`wave_status`: levels, those that go first,
the stop), what they keep back (`goes_first`, `lets_go`), and whose turn a rollout is (`FairQueue`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.support.fleet.images import ImageFleet

from upwell.api.apps import Deployment, DeploymentSpec, RevisionRecord
from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    Build,
    BuildOutputStatus,
    BuildOutputTo,
    BuildPhase,
    BuildStatus,
    ResolvedImage,
)
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.api.pod_template import PodTemplate
from upwell.api.waves.wave import ENDED_WAVES, Wave, WaveSpec, WaveStatus
from upwell.oci import Digest
from upwell.policy.builds.fairness import FairQueue, QueuedBuild
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Edge, EdgeRole, Node
from upwell.policy.images.names import UpstreamImage
from upwell.policy.rollouts.history import Phase
from upwell.policy.waves.canary import CanaryRules, goes_first, lets_go
from upwell.policy.waves.estimate import Estimate
from upwell.policy.waves.impact import Impact, PlannedChange, PlannedStep, StepAction
from upwell.policy.waves.progress import WaveRules, wave_status
from upwell.policy.waves.stop import stop_in_force

_NO_ESTIMATE = Estimate({}, 0, 0, 1)


@dataclass(frozen=True, slots=True)
class WavesShape:
    """Rules of the server for Waves, and what the new image breaks."""

    canary: float = 0.05
    healthy_for: float = 300.0
    stop_at: float = 0.2
    rollouts: int = 0
    """Rollouts at once; 0: as many as come."""
    breaks: float = 0.0
    """Share of workloads that fail on the new image."""
    look: float = 60.0
    """Seconds between two looks at a Wave."""


class FleetWaves:
    """Waves of one change of every vendor's image of a fleet; `clock` tells the virtual time."""

    def __init__(self, fleet: ImageFleet, shape: WavesShape, clock: Callable[[], datetime]) -> None:
        self._fleet, self.shape, self._clock = fleet, shape, clock
        rules = CanaryRules(shape.canary, timedelta(seconds=shape.healthy_for), clock())
        self._rules = WaveRules(canary=rules, stop_share=shape.stop_at)
        self.waves: dict[int, Wave] = {}
        """By the vendor's image."""
        self._members: dict[int, list[int]] = {}
        """Images that stand on a vendor's, each after its bases."""
        self._above: dict[int, list[int]] = {}
        """Vendors' images that an image stands on."""
        self._levels: dict[int, int] = {}
        self._builds: dict[int, list[Build]] = {}
        self._workloads: dict[int, Deployment] = {}
        self._built: set[int] = set()
        self._waiting: dict[int, None] = {}
        """Images whose workloads do not have them yet, in the order of their builds."""
        self._turns = FairQueue()
        self._under_way = 0
        self._changed: set[int] = set()
        self.most_ahead: dict[int, int] = {}
        """Rollouts that had begun when a Wave's first workloads had not been healthy yet."""
        for image in fleet.built():
            parents = fleet.parents[image]
            self._levels[image] = 1 + max(self._levels.get(one, 0) for one in parents)
            above = {one for each in parents for one in self._above.get(each, [each])}
            self._above[image] = sorted(above)
            for base in above:
                self._members.setdefault(base, []).append(image)
            self._builds[image] = [self._build(image, 1)]
            if image in fleet.running:
                self._workloads[image] = self._workload(image)

    def changed(self, base: int) -> None:
        """Make the Wave of a vendor's image."""
        spec = WaveSpec(
            image=_name(base),
            digest=_digest(base, 2),
            previous=_digest(base, 1),
            changed=self._clock(),
        )
        wave = Wave(metadata=ObjectMeta(name=f"x{base}", generation=1), spec=spec)
        self.waves[base] = wave
        self._changed.add(base)

    def built(self, image: int) -> None:
        """Note that an image has the change in it."""
        self._built.add(image)
        self._builds[image].insert(0, self._build(image, 2))
        self._note(image)
        if image in self._workloads:
            self._waiting[image] = None

    def failed(self, image: int) -> None:
        """Note that the build of an image has failed for good."""
        build = self._build(image, 2)
        status = build.status.model_copy(
            update={"phase": BuildPhase.FAILED, "reason": "DockerBuildFailed", "output": None}
        )
        self._builds[image].insert(0, build.with_status(status))
        self._note(image)

    def begin(self) -> Iterator[int]:
        """Begin the rollouts that no Wave keeps back and whose turn it is."""
        free = [one for one in self._waiting if self._may_go(one)]
        for image in free:
            key = self._workloads[image].key
            self._turns.add(QueuedBuild(key, key, self._clock(), image))
        most = self.shape.rollouts or len(self._workloads)
        while self._under_way < most and (following := self._turns.first()) is not None:
            build = self._turns.queued(following)
            self._turns.start(build)
            self._under_way += 1
            del self._waiting[build.number]
            self._roll(build.number, Phase.PROGRESSING)
            for base in self._above[build.number]:
                canary = self.waves[base].status.canary
                if canary is not None and not canary.healthy:
                    self.most_ahead[base] = self.most_ahead.get(base, 0) + 1
            yield build.number

    def ended(self, image: int, *, well: bool) -> None:
        """Note that a rollout has ended; one that is not well is rolled back."""
        self._turns.finish(self._workloads[image].key)
        self._under_way -= 1
        self._roll(image, Phase.COMPLETE if well else Phase.FAILED)

    def look(self) -> None:
        """Say how far the Waves are of which something has changed, or whose time has come."""
        for base, wave in self.waves.items():
            canary = wave.status.canary
            due = canary is not None and canary.until is not None and canary.until <= self._clock()
            if (base in self._changed or due) and wave.status.phase not in ENDED_WAVES:
                self._changed.discard(base)
                self.waves[base] = wave.with_status(self._status(base, wave))

    def awaits_time(self) -> bool:
        """Return True if those that go first in a Wave have to stay healthy for a while yet."""
        canaries = (one.status.canary for one in self.waves.values())
        return any(one is not None and one.until is not None for one in canaries)

    def held(self) -> int:
        """Return how many workloads wait for a Wave that does not let them go."""
        return len(self._waiting)

    def _status(self, base: int, wave: Wave) -> WaveStatus:
        members = self._members.get(base, [])
        objects: list[Resource] = [one for image in members for one in self._builds[image]]
        objects += [self._workloads[one] for one in members if one in self._workloads]
        steps = {step.node: step for step in self._steps(base, members)}
        change = PlannedChange((UpstreamImage(_name(base)),), _digest(base, 2))
        impact = Impact(change, steps)
        snapshot = Snapshot(objects, edges=())
        return wave_status(wave, impact, snapshot, _NO_ESTIMATE, self._clock(), self._rules)

    def _steps(self, base: int, members: list[int]) -> Iterator[PlannedStep]:
        for image in members:
            config = self._config(image)
            sources: list[Node] = [
                UpstreamImage(_name(one)) if one == base else self._config(one)
                for one in self._fleet.parents[image]
                if one == base or one in self._levels
            ]
            edges = tuple(Edge(one, config, EdgeRole.BASE, automatic=True) for one in sources)
            done = image in self._built
            level = self._levels[image]
            yield PlannedStep(config, StepAction.REBUILD, level, edges, done=done)
            if (workload := self._workloads.get(image)) is not None:
                edge = Edge(config, workload.key, EdgeRole.DEPLOY, automatic=True)
                newest = workload.status.revisions[0]
                has_it = newest.revision > 1 and newest.phase == Phase.COMPLETE
                yield PlannedStep(
                    workload.key, StepAction.ROLL_OUT, level, (edge,), done=done and has_it
                )

    def _may_go(self, image: int) -> bool:
        waves = [self.waves[base] for base in self._above[image] if base in self.waves]
        if any(stop_in_force(wave, wave.status.stop) for wave in waves):
            return False
        key = self._workloads[image].key
        if not self.shape.canary or any(goes_first(key, wave) for wave in waves):
            return True
        return all(lets_go(wave, key.namespace) for wave in waves)

    def _roll(self, image: int, phase: Phase) -> None:
        workload = self._workloads[image]
        before = [one for one in workload.status.revisions if one.revision == 1]
        record = self._revision(image, 2, phase)
        status = workload.status.model_copy(update={"revisions": (record, *before)})
        self._workloads[image] = workload.with_status(status)
        self._note(image)

    def _note(self, image: int) -> None:
        self._changed.update(one for one in self._above[image] if one in self.waves)

    def _build(self, image: int, number: int) -> Build:
        namespace, name = self._fleet.namespace(image), f"x{image}"
        images = tuple(
            ResolvedImage(name=_name(one), reference=f"{_name(one)}@{_digest(one, number)}")
            for one in self._fleet.parents[image]
        )
        output = BuildOutputStatus(to=BuildOutputTo(image_digest=_digest(image, number)))
        return Build(
            metadata=ObjectMeta(
                namespace=namespace,
                name=f"{name}-{number}",
                labels={BUILD_CONFIG_LABEL: name},
                annotations={BUILD_NUMBER_ANNOTATION: str(number)},
                creation_timestamp=self._clock(),
            ),
            status=BuildStatus(
                phase=BuildPhase.COMPLETE,
                images=images,
                output=output,
            ),
        )

    def _workload(self, image: int) -> Deployment:
        workload = Deployment(
            metadata=ObjectMeta(
                namespace=self._fleet.namespace(image), name=f"x{image}", generation=1
            ),
            spec=DeploymentSpec(replicas=1),
        )
        status = workload.status.model_copy(
            update={
                "observed_generation": 1,
                "revisions": (self._revision(image, 1, Phase.COMPLETE),),
                "updated_replicas": 1,
                "ready_replicas": 1,
            }
        )
        return workload.with_status(status)

    def _revision(self, image: int, number: int, phase: Phase) -> RevisionRecord:
        return RevisionRecord(
            revision=number,
            hash=str(number),
            template=PodTemplate(),
            created=self._clock(),
            phase=phase,
            images={"app": f"{_name(image)}@{_digest(image, number)}"},
        )

    def _config(self, image: int) -> ObjectKey:
        return ObjectKey(BuildConfig.KIND.kind, self._fleet.namespace(image), f"x{image}")


def _name(image: int) -> str:
    return f"registry.test/x{image}:1"


def _digest(image: int, number: int) -> str:
    return str(Digest.of(f"{image} {number}".encode()))
