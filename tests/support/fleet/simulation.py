"""The day on which every base image of a fleet changes, in virtual time.

The decisions are the server's own: when imports look (`ImportSchedule`), whether a build begins
(`decide`), whose turn it is (`BuildSlots`), what is tried again and when (`may_pass`, `Backoff`),
what a registry is asked (`RequestBudget`), in which order work is done (`WorkQueue`). Simulated are
the registries, the time that builds and rollouts take, and their failures.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.fleet.images import ImageFleet
from tests.support.fleet.registries import (
    PusherRequests,
    RegistryRequests,
    RequestSort,
    SimulatedHost,
    drawn,
)
from tests.support.fleet.waves import FleetWaves, WavesShape

from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.meta import ObjectKey, ObjectReference
from upwell.api.waves.wave import Wave
from upwell.builder.interface import BuildError, LimitedPushError
from upwell.controller import WorkQueue
from upwell.machine.backoff import Backoff
from upwell.policy.builds.failures import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    build_error,
    may_pass,
    retry_delay,
)
from upwell.policy.builds.fairness import QueuedBuild
from upwell.policy.builds.triggers import FollowedTag, StartBuild, UpToDate, decide
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.builds.slots import BuildCapacity, BuildSlots
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import RegistryError

START = datetime(2026, 5, 1, tzinfo=UTC)
IMPORT_WORKERS, BUILD_WORKERS = 16, 4
AGAIN = 0.1
"""Part of its time that a build takes at its second try: its steps are kept."""
MOST_DEPENDENTS = 1_000

_BASE = (RequestSort.PULL, *[RequestSort.READ] * 4)
"""Requests for the copy of a base that builds are made on, once for all."""
_PUSH = ([RequestSort.HEAD] * 6, [RequestSort.WRITE] * 6, [RequestSort.WRITE] * 6)
"""Requests of a push, of which the base's layers are there already; six blobs go at once."""
_REBASE = (RequestSort.PULL, RequestSort.READ, *[RequestSort.WRITE] * 7)
"""Requests of a rebase on three layers, as the benchmark of rebases counted them."""

_FOLLOWER = BuildConfig.model_validate(
    {
        "metadata": {"namespace": "team", "name": "app"},
        "spec": {
            "strategy": {"dockerStrategy": {}},
            "triggers": ({"type": "ImageChange", "imageChange": {}},),
        },
    }
)


@dataclass(frozen=True, slots=True)
class DayShape:
    """Size of the server, faults, and when vendors publish."""

    builders: int = 2
    transient: float = 0.03
    """Share of tries of builds that fail for a reason that passes."""
    published: tuple[float, ...] = (0.0,)
    """Seconds at which every vendor publishes."""
    rollout: float = 45.0
    """Seconds that a rollout takes, the median; a tenth takes three times as long."""
    waves: WavesShape | None = None
    """Rules of Waves, of one publication; None: rollouts begin when their images are built."""
    seed: int = 7


@dataclass(slots=True)
class DayReport:
    """Outcome: seconds are virtual, and count from the first publication."""

    images: list[float] = field(default_factory=list)
    """Times at which images got the newest base, in order."""
    workloads: list[float] = field(default_factory=list)
    unreached: int = 0
    """Images that it does not reach by itself: their build fails, or that of what they stand on."""
    builds: int = 0
    rebases: int = 0
    retries: int = 0
    spent: Counter[str] = field(default_factory=Counter)
    """Seconds of images by what they spent them on."""
    registries: Sequence[SimulatedHost] = ()
    waves: Mapping[int, Wave] = field(default_factory=dict)
    """Waves by the vendors' images, as they ended."""
    kept_back: int = 0
    """Workloads that a Wave keeps back at the end."""
    went_ahead: Mapping[int, int] = field(default_factory=dict)
    """By vendors' images, rollouts that began before one of the first was healthy."""

    def until(self, share: float, times: Sequence[float]) -> float:
        """Return when this share of those that are reached had it."""
        return times[max(0, round(len(times) * share) - 1)] if times else 0.0


class GlibcDay:
    """One run. To be made and played on a VirtualTimeLoop."""

    def __init__(
        self, fleet: ImageFleet, shape: DayShape, registries: Sequence[SimulatedHost]
    ) -> None:
        self.report = DayReport(registries=registries)
        self._fleet, self._shape = fleet, shape
        self._loop = asyncio.get_running_loop()
        self._chance = drawn(shape.seed)
        draw = self._chance.random
        budget = RequestBudget(clock=lambda: START.timestamp() + self._loop.time(), jitter=draw)
        self._client = RegistryRequests(registries, budget)
        self._pusher = PusherRequests(registries)
        self._names = [one.name for one in registries]
        self._schedule = ImportSchedule()
        self._backoff = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, draw)
        self._imports: WorkQueue[ObjectKey] = WorkQueue()
        self._queue: WorkQueue[ObjectKey] = WorkQueue()
        self._imports.expect(IMPORT_WORKERS)
        self._queue.expect(BUILD_WORKERS)
        capacity = BuildCapacity(shape.builders, closed_for=budget.closed_for)
        self._slots = BuildSlots(capacity, self._queue.add)
        count = len(fleet.parents)
        self._output = [0] * count
        """Results of each image so far: each has a digest of its own."""
        self._carries = [0] * count
        """Publication that an image has in it."""
        self._built: dict[int, tuple[int, ...]] = {}
        """Results of its bases that an image was built from last."""
        self._pending: set[int] = set()
        """Images that are to be built, at some time."""
        self._due: dict[int, float] = {}
        """Images whose build is queued, and since when."""
        self._attempts: Counter[int] = Counter()
        self._running: set[int] = set()
        self._retrying: set[int] = set()
        self._under_way = (self._running, self._due, self._retrying)
        self._failed: set[int] = set()
        self._since: dict[int, float] = {}
        self._copies: dict[tuple[int, int], asyncio.Lock] = {}
        self._copied: set[tuple[int, int]] = set()
        self._failures: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rollouts = 0
        self._waves = FleetWaves(fleet, shape.waves, self._now) if shape.waves is not None else None
        self._settled = False
        """Two looks at the Waves in a row have found nothing to do."""
        self._finished = asyncio.Event()

    async def play(self) -> DayReport:
        """Run until the newest publication is wherever it gets by itself."""
        for base in range(self._fleet.bases):
            first = self._chance.random() * self._schedule.interval.total_seconds()
            self._imports.add_after(self._key("ImageStream", base), first)
        for _ in range(IMPORT_WORKERS):
            self._spawn(self._work(self._imports, self._look))
        for _ in range(BUILD_WORKERS):
            self._spawn(self._work(self._queue, self._begin))
        if self._waves is not None:
            self._spawn(self._watch(self._waves))
        await self._finished.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._slots.close()
        return self._reported()

    def _reported(self) -> DayReport:
        newest = len(self._shape.published)
        report = self.report
        reached = sum(self._carries[one] == newest for one in self._fleet.built())
        report.unreached = self._fleet.shape.images - reached
        report.images.sort()
        report.workloads.sort()
        if self._waves is not None:
            report.waves, report.kept_back = self._waves.waves, self._waves.held()
            report.went_ahead = self._waves.most_ahead
        report.spent["waits in a push for a registry"] += round(self._pusher.waited)
        return report

    async def _watch(self, waves: FleetWaves) -> None:
        """Look at Waves, and begin what they let go, until nothing of them goes on."""
        before: object = None
        while True:
            waves.look()
            for image in waves.begin():
                self._roll_out(image)
            idle = not (self._pending or self._rollouts or waves.awaits_time())
            now = {base: wave.status.phase for base, wave in waves.waves.items()}
            self._settled = idle and now == before
            before = now
            self._look_for_end()
            await asyncio.sleep(waves.shape.look)

    async def _work(
        self, queue: WorkQueue[ObjectKey], act: Callable[[int], Coroutine[Any, Any, float | None]]
    ) -> None:
        while True:
            key = await queue.get()
            again = await act(int(key.name))
            queue.done(key)
            if again is not None:
                queue.add_after(key, again)

    async def _look(self, base: int) -> float | None:
        """Ask a registry for a vendor's tag; return the seconds until the next look.

        None: it has the last publication, and later looks find nothing. To play them too takes
        ever more time: they grow with the images and with the length of their day.
        """
        name = self._names[self._fleet.registry[base]]
        now = self._now()
        try:
            await self._client.ask(name, RequestSort.HEAD)
            newest = sum(when <= self._loop.time() for when in self._shape.published)
            if newest > self._carries[base]:
                await self._client.ask(name, RequestSort.PULL, RequestSort.READ)
                self._moved(base, newest)
        except RegistryError as error:
            self._failures[base] += 1
            again = self._schedule.after_failure(
                self._failures[base], error.retry_after, now, self._chance.random()
            )
        else:
            self._failures[base] = 0
            if self._carries[base] == len(self._shape.published):
                return None
            interval = self._schedule.interval
            again = self._schedule.after_success(interval, now, self._chance.random())
        return (again - now).total_seconds()

    def _moved(self, base: int, newest: int) -> None:
        """Let what stands on a base know that it has changed."""
        self._output[base] += 1
        self._carries[base] = newest
        if self._waves is not None:
            self._waves.changed(base)
        reached = [base]
        for one in reached:  # grows meanwhile
            for child in self._fleet.children[one]:
                if child not in self._pending and child not in self._failed:
                    self._pending.add(child)
                    self._since[child] = self._loop.time()
                    reached.append(child)
        for child in self._fleet.children[base]:
            self._decide(child)
        self._look_for_end()

    def _decide(self, image: int) -> None:
        """Begin a build, wait for others, or be content."""
        waiting = [image]
        for one in waiting:  # grows meanwhile
            if one in self._failed or any(one in group for group in self._under_way):
                continue
            match decide(_FOLLOWER, self._followed(one), is_new=False, busy=self._busy(one)):
                case StartBuild():
                    self._pending.add(one)
                    self._spend(one, "waits for its bases")
                    self._due[one] = self._loop.time()
                    self._queue.add(self._key("Build", one))
                case UpToDate() if one in self._pending and not self._busy(one):
                    self._pending.discard(one)
                    waiting += self._fleet.children[one]
                case _:
                    pass

    def _followed(self, image: int) -> list[FollowedTag]:
        parents = self._fleet.parents[image]
        built = self._built.get(image, (0,) * len(parents))
        return [
            FollowedTag(_reference(one), f"r/x{one}@{self._output[one]}", f"r/x{one}@{before}")
            for one, before in zip(parents, built, strict=True)
        ]

    def _busy(self, image: int) -> list[str]:
        """Name the bases that change soon; one that waits for another try may do so for long."""
        return [
            str(one)
            for one in self._fleet.parents[image]
            if one in self._pending and one not in self._retrying
        ]

    async def _begin(self, image: int) -> None:
        """Start a build if its turn has come."""
        since = self._due.get(image)
        if since is None or image in self._running:
            return
        key = self._key("Build", image)
        if self._busy(image):  # its inputs are outdated soon
            del self._due[image]
            self._slots.leave(key)
            self._spend(image, "waits for a slot")
            return
        began = START + timedelta(seconds=since)
        dependents = 0 if key in self._slots else self._dependents(image)
        where = self._fleet.registry[image]
        registry = self._names[where] if where >= 0 else ""
        if self._slots.take(QueuedBuild(key, key, began, 0, dependents, registry=registry)):
            del self._due[image]
            self._spend(image, "waits for a slot")
            self._running.add(image)
            self._spawn(self._run(image))

    async def _run(self, image: int) -> None:
        self._attempts[image] += 1
        parents = self._fleet.parents[image]
        inputs = tuple(self._output[one] for one in parents)
        carries = min(self._carries[one] for one in parents)
        error = await self._outcome(image)
        self._spend(image, "is built")
        self._running.discard(image)
        key = self._key("Build", image)
        if error is None:
            self._slots.pushed(key)
        elif isinstance(error, LimitedPushError):
            self._slots.refused(key)
        self._slots.give_back(key)
        if error is None:
            self._complete(image, inputs, carries)
        elif may_pass(error, self._attempts[image]):
            self.report.retries += 1
            self._retrying.add(image)
            for child in self._fleet.children[image]:
                self._decide(child)
            delay = retry_delay(error, self._backoff.delay(self._attempts[image]))
            self._loop.call_later(delay, self._retry, image)
        else:
            self._failed.add(image)
            if self._waves is not None:
                self._waves.failed(image)
            self._pending.discard(image)
            for child in self._fleet.children[image]:
                self._decide(child)
        self._look_for_end()

    def _retry(self, image: int) -> None:
        self._retrying.discard(image)
        self._spend(image, "waits for another try")
        self._due[image] = self._loop.time()
        self._queue.add(self._key("Build", image))

    async def _outcome(self, image: int) -> BuildError | None:
        try:
            if image in self._fleet.rebased:
                self.report.rebases += 1
                await self._rebase(image)
            else:
                self.report.builds += 1
                await self._build(image)
        except (BuildError, RegistryError) as error:
            return build_error(error)
        return None

    async def _build(self, image: int) -> None:
        for one in self._fleet.parents[image]:
            if one < self._fleet.bases:
                await self._copy(one)
        first = self._attempts[image] == 1
        await asyncio.sleep(self._fleet.seconds[image] * (1.0 if first else AGAIN))
        if image in self._fleet.broken:
            raise BuildError("DockerBuildFailed", "its source is at fault")
        if self._chance.random() < self._shape.transient:
            raise BuildError("FetchSourceFailed", "a host was away", retryable=True)
        if (where := self._fleet.registry[image]) >= 0:
            await self._pusher.ask(self._names[where], *_PUSH)

    async def _rebase(self, image: int) -> None:
        if (where := self._fleet.registry[image]) >= 0:
            await self._client.ask(self._names[where], *_REBASE)

    async def _copy(self, base: int) -> None:
        """Bring a base into the server's registry, once for all that stands on it."""
        key = (base, self._output[base])
        async with self._copies.setdefault(key, asyncio.Lock()):
            if key not in self._copied:
                await self._client.ask(self._names[self._fleet.registry[base]], *_BASE)
                self._copied.add(key)

    def _complete(self, image: int, inputs: tuple[int, ...], carries: int) -> None:
        self._built[image] = inputs
        self._attempts.pop(image, None)
        self._output[image] += 1
        newest = len(self._shape.published)
        if carries == newest > self._carries[image]:
            self.report.images.append(self._loop.time())
            if self._waves is not None:
                self._waves.built(image)
            elif image in self._fleet.running:
                self._roll_out(image)
        self._carries[image] = carries
        self._pending.discard(image)
        self._decide(image)
        for child in self._fleet.children[image]:
            self._decide(child)

    def _roll_out(self, image: int) -> None:
        self._rollouts += 1
        seconds = self._shape.rollout * self._chance.lognormvariate(0.0, 0.857)
        self._loop.call_later(seconds, self._rolled_out, image)

    def _rolled_out(self, image: int) -> None:
        self._rollouts -= 1
        rules = self._shape.waves
        well = rules is None or self._chance.random() >= rules.breaks
        if self._waves is not None:
            self._waves.ended(image, well=well)
        if well:
            self.report.workloads.append(self._loop.time())
        self._look_for_end()

    def _look_for_end(self) -> None:
        published = self._shape.published
        if self._pending or self._rollouts or self._loop.time() < max(published):
            return
        if self._waves is not None and not self._settled:
            return
        if all(self._carries[one] == len(published) for one in range(self._fleet.bases)):
            self._finished.set()

    def _dependents(self, image: int) -> int:
        seen = {image}
        reached = [image]
        for one in reached:  # grows meanwhile
            for child in self._fleet.children[one]:
                if child not in seen:
                    seen.add(child)
                    reached.append(child)
            if len(reached) > MOST_DEPENDENTS:
                break
        return min(len(reached) - 1, MOST_DEPENDENTS)

    def _spend(self, image: int, on: str) -> None:
        now = self._loop.time()
        self.report.spent[on] += round(now - self._since.get(image, now))
        self._since[image] = now

    def _key(self, kind: str, number: int) -> ObjectKey:
        return ObjectKey(kind, self._fleet.namespace(number), str(number))

    def _now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()


_REFERENCES: dict[int, ObjectReference] = {}


def _reference(number: int) -> ObjectReference:
    return _REFERENCES.setdefault(
        number, ObjectReference(kind=IMAGE_STREAM_TAG, namespace="n", name=f"x{number}:1")
    )
