"""Builds: runs each one once, in the order that its run policy allows, and cleans up after it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import random
from typing import Any

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig, RunPolicy
from upwell.api.core import ConfigMap, Secret
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.waves.wave import Wave
from upwell.builder.interface import Builder, BuildError, BuildLogs, LimitedPushError
from upwell.controller import Controller, Result, Watch, WorkQueue, of_both
from upwell.machine.backoff import Backoff
from upwell.machine.tasks import first_error
from upwell.policy.builds.failures import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    attributed,
    build_error,
    completion_time,
    final_phase,
    may_pass,
    retry_delay,
    retry_message,
    retry_wait,
    status_message,
    status_reason,
    waits_for_retry,
    with_attempt_before,
)
from upwell.policy.builds.fairness import QueuedBuild
from upwell.policy.builds.push_gates import output_registry
from upwell.policy.builds.run_policy import (
    blocked_by,
    number_of,
    only_image_changes,
    policy_of,
    superseded,
)
from upwell.policy.builds.triggers import UPSTREAM_BUILDING
from upwell.policy.waves.urgency import urgency_of
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, MISSING_RIGHT
from upwell.reconcilers.builds.context import config_of, waits_for_right
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.interruptions import Interruptions
from upwell.reconcilers.builds.run import BuildRun, write_status
from upwell.reconcilers.builds.slots import BuildCapacity, BuildSlots
from upwell.reconcilers.signatures.questions import POLICY_REASONS
from upwell.store.interface import NotFoundError, StoreError

log = logging.getLogger(__name__)

LOG_SNIPPET_LINES = 20


class Builds:
    """Reconciles Builds.

    Runs them as tasks of its `lifespan`; a run that ends, however it ends, is looked at again by
    the reconciler.
    """

    def __init__(
        self,
        index: BuildIndex,
        builder: Builder,
        logs: BuildLogs,
        run: BuildRun,
        *,
        capacity: BuildCapacity,
        clock: Callable[[], datetime],
        jitter: Callable[[], float] = random,
    ) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        """Builds to look at again that no object tells of."""
        self._store = index.cache.store
        self._index = index
        self._builder = builder
        self._logs = logs
        self._run = run
        self._slots = BuildSlots(capacity, self.queue.add)
        self._disk_was_short = capacity.was_short
        self._clock = clock
        self._backoff = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, jitter)
        self._retries: dict[ObjectKey, float] = {}
        """Times of next attempts of builds that failed here, by the loop: no clock delays them."""
        self._interruptions = Interruptions(index.cache.failing)
        self._tasks: dict[ObjectKey, asyncio.Task[None]] = {}
        self._waiting: dict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        """Builds to look at again when a run of their BuildConfig ends."""
        self._uids: dict[ObjectKey, str] = {}
        """Builds that may have left a folder or a log, for when they are deleted."""
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Clean up after an earlier process; on the way out, stop what runs."""
        await self._builder.recover()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                yield
                self._slots.close()
        finally:
            await self._builder.close()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Start, cancel or clean up the build that `key` names."""
        found: Build | Result = Result()
        try:
            found = await self._examine(key)
        finally:
            if isinstance(found, Result):
                self._slots.leave(key)
        return found if isinstance(found, Result) else await self._start(found)

    async def _examine(self, key: ObjectKey) -> Build | Result:
        """Return a build that lacks nothing but a slot; all others are dealt with."""
        try:
            build = await self._store.get(Build, key.namespace, key.name)
        except NotFoundError:
            await self._forget(key)
            return Result()
        if self._uids.get(key, build.uid) != build.uid:
            await self._forget(key)  # deleted, and another one created under its name
        self._uids[key] = build.uid
        if build.status.phase.is_terminal:
            await self._stop(key)
            await self._builder.discard(build.uid)
            self._logs.close(build.uid)
            self._interruptions.forget(key)
            wait = await self._logs.keep(build.uid, build.namespace, again=True)
            return Result(requeue_after=wait) if wait else Result()
        if build.status.cancelled:
            await self._stop(key)
            await self._end(build, BuildPhase.CANCELLED, "CancelledBuild", "")
            return Result()
        instead = superseded(self._as_launched(build), self._siblings(build))
        if instead is not None:
            await self._stop(key)
            later, why = instead
            message = f"build {later.name} takes its place: {why}"
            await self._end(build, BuildPhase.CANCELLED, "CancelledBuild", message)
            return Result()
        if key in self._tasks:
            self._waiting[config_of(build)].add(key)
            return Result()
        return await self._startable(build)

    async def _startable(self, build: Build) -> Build | Result:
        if build.spec.strategy.type is None:
            await self._end(build, BuildPhase.ERROR, "InvalidStrategy", "spec.strategy is empty")
            return Result()
        wait = self._retry_wait(build)
        if wait > 0:
            return Result(requeue_after=wait)
        missing = await self._run.missing_input(build)
        if missing is not None and build.spec.source.binary is not None:
            # Whoever uploaded waits for it now (as in OpenShift).
            await self._end(build, BuildPhase.FAILED, missing.reason, missing.message)
            return Result()
        awaited = await self._awaited_inputs(build)
        siblings = self._siblings(build)
        obstacle = self._obstacle(build, siblings)
        if obstacle is None and awaited is not None:
            obstacle = UPSTREAM_BUILDING, awaited
        if obstacle is None and missing is not None:
            obstacle = missing.reason, status_message(missing.reason, missing.message)
        if obstacle is not None:
            self._waiting[config_of(build)].add(build.key)
            await self._write(build, {"reason": obstacle[0], "message": obstacle[1]})
            return Result(ASK_AGAIN_SECONDS) if obstacle[0] == MISSING_RIGHT else Result()
        return build

    async def _awaited_inputs(self, build: Build) -> str | None:
        """Say what keeps a build back that only new images have caused; None: nothing does."""
        if not only_image_changes(build) or build.status.start_timestamp is not None:
            return None
        return (await self._index.context_of(config_of(build))).awaited_inputs(build)

    async def _start(self, build: Build) -> Result:
        """Start the build if its turn has come.

        Nothing is awaited between the look at its siblings and this: two workers may be here with
        two builds.
        """
        config, since = config_of(build), build.metadata.creation_timestamp or self._clock()
        dependents = 0 if build.key in self._slots else self._index.dependents(config)
        urgency, own = self._index.urgency(build)
        place = number_of(build), dependents, urgency, own
        queued = QueuedBuild(build.key, config, since, *place, output_registry(build))
        if self._slots.take(queued):
            self._launch(build)
            return Result()
        obstacle = self._slots.obstacle(build.key)
        if obstacle is not None:
            await self._write(build, {"reason": obstacle[0], "message": obstacle[1]})
        return Result()

    def _launch(self, build: Build) -> None:
        if self._group is None:
            raise RuntimeError("a build is started within the lifespan alone")
        task = self._group.create_task(self._execute(build), name=f"build:{build.key}")
        self._tasks[build.key] = task
        # A task that is cancelled before its first step runs none of its own clean-up.
        task.add_done_callback(lambda _: self._ended(build))

    def _ended(self, build: Build) -> None:
        """Give the slot back, and look again at what may have waited for the run to end."""
        del self._tasks[build.key]
        self._slots.give_back(build.key)
        for waiter in self._waiting.pop(config_of(build), ()):
            self.queue.add(waiter)

    def _obstacle(self, build: Build, siblings: Sequence[Build]) -> tuple[str, str] | None:
        """Return reason and message of what the build waits for; its end brings us back."""
        if build.spec.strategy.jenkins_pipeline_strategy is not None:
            return "JenkinsPipeline", "is left to the outside CI"
        blocker = blocked_by(build, siblings)
        return ("RunPolicy", blocker) if blocker is not None else None

    async def _execute(self, build: Build) -> None:
        """Run one build; how it ends is recorded on it, never raised."""
        try:
            await self._attempt(build)
        except NotFoundError:
            log.info("build deleted while it ran", extra={"key": str(build.key)})
        except StoreError as error:
            # The store does not take writes now (a full disk, say): look again when it does.
            self.queue.add_after(build.key, self._interruptions.note(build.key, error))
        else:
            self._interruptions.forget(build.key)

    async def _attempt(self, build: Build) -> None:
        status = build.status
        # One that was cut short, by the end of the server or by the store, is no failed attempt.
        attempt = status.attempts + 1 if status.phase is BuildPhase.NEW else status.attempts
        started = {
            "phase": BuildPhase.PENDING if status.phase is BuildPhase.NEW else status.phase,
            "start_timestamp": self._clock(),
            "attempts": attempt,
            "retry_time": None,
            "reason": None,
            "message": None,
        }
        self._retries.pop(build.key, None)
        begun = await write_status(self._store, build, started)
        if status.start_timestamp is not None:
            self._note(build, f"Attempt {attempt} begins")
        try:
            await self._run.run(begun)
            self._slots.pushed(build.key)
        except Exception as raised:
            error = first_error(raised)
            if isinstance(error, LimitedPushError):
                self._slots.refused(build.key)
            if isinstance(error, StoreError):
                raise
            if not isinstance(error, BuildError):
                log.exception("build failed by no fault of its own", extra={"key": str(build.key)})
            await self._failed(begun, with_attempt_before(build_error(error), build))

    def _note(self, build: Build, line: str) -> None:
        """Add a line of ours to the log, which has all attempts."""
        self._logs.sink(build.uid)(f"\n{line}\n".encode())

    async def _failed(self, build: Build, error: BuildError) -> None:
        attempts = build.status.attempts
        began = build.status.start_timestamp or self._clock()
        error = attributed(error, attempts, disk_was_short=self._disk_was_short(began))
        if may_pass(error, attempts):
            delay = retry_delay(error, self._backoff.delay(attempts))
            due = self._clock() + timedelta(seconds=delay)
            message = retry_message(error, attempts + 1, due)
            self._note(build, f"Attempt {attempts} has failed: {message}")
            changes = {
                "phase": BuildPhase.NEW,
                "retry_time": due,
                "reason": status_reason(error.reason),
                "message": message,
                "log_snippet": self._logs.tail(build.uid, LOG_SNIPPET_LINES) or None,
            }
            await self._builder.discard(build.uid)  # nothing of it takes space while it waits
            self._retries[build.key] = asyncio.get_running_loop().time() + delay
            await self._write(build, changes)
            where = {"key": str(build.key), "reason": error.reason, "retry_in": delay}
            log.warning("build to be tried again", extra=where)
            self.queue.add_after(build.key, delay)
            return
        await self._end(build, final_phase(error.reason), error.reason, str(error))

    def _retry_wait(self, build: Build) -> float:
        """Return the seconds until the build's next attempt is due."""
        if not waits_for_retry(build):
            return 0
        due = self._retries.get(build.key)
        if due is None:
            return retry_wait(build, self._clock()).total_seconds()
        return due - asyncio.get_running_loop().time()

    async def _end(self, build: Build, phase: BuildPhase, reason: str, message: str) -> None:
        changes = {
            "phase": phase,
            "reason": status_reason(reason),
            "message": status_message(reason, message),
            "retry_time": None,
            "completion_timestamp": completion_time(build, self._clock()),
            "log_snippet": self._logs.tail(build.uid, LOG_SNIPPET_LINES) or None,
        }
        await self._logs.keep(build.uid, build.namespace)
        await self._write(build, changes)
        log.info("build ended", extra={"key": str(build.key), "phase": phase, "reason": reason})

    async def _write(self, build: Build, changes: Mapping[str, Any]) -> None:
        try:
            await write_status(self._store, build, changes)
        except NotFoundError:
            log.info("build was deleted meanwhile", extra={"key": str(build.key)})

    async def _stop(self, key: ObjectKey) -> None:
        """Kill the build's run, if there is one, and wait until nothing of it is left."""
        task = self._tasks.get(key)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    def retry_refused(self) -> None:
        """Try each build now that an image policy has kept waiting: a signature has come."""
        now = asyncio.get_running_loop().time()
        for build in self._index.without_inputs():
            if waits_for_retry(build) and build.status.reason in POLICY_REASONS:
                self._retries[build.key] = now
                self.queue.add(build.key)

    async def _forget(self, key: ObjectKey) -> None:
        """Remove all that a deleted build has left: its run, its folder, its log."""
        await self._stop(key)
        self._retries.pop(key, None)
        self._interruptions.forget(key)
        uid = self._uids.pop(key, None)
        if uid is not None:
            await self._builder.discard(uid)
            self._logs.remove(uid)

    def _siblings(self, build: Build) -> Sequence[Build]:
        """Return the builds of the same BuildConfig, those that were launched as pending.

        They may be older than `build`: no harm, since a change of each brings us here again.
        """
        if not build.labels.get(BUILD_CONFIG_LABEL):
            return (build,)
        return [self._as_launched(sibling) for sibling in self._index.builds(config_of(build))]

    def _as_launched(self, build: Build) -> Build:
        if build.key not in self._tasks or build.status.phase is not BuildPhase.NEW:
            return build
        status = build.status.model_copy(update={"phase": BuildPhase.PENDING})
        return build.with_status(status)

    def queued(self) -> list[ObjectKey]:
        """Return the builds that wait for a slot."""
        return self._slots.waiting()

    def woken(self, before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
        """Yield a changed build, and after one has ended those that may have waited for it.

        A new one brings us to those whose place it may take.
        """
        changed = after or before
        if changed is None:
            return
        yield changed.key
        displaces = changed.status.phase is BuildPhase.NEW and (
            policy_of(changed) is RunPolicy.SERIAL_LATEST_ONLY or only_image_changes(changed)
        )
        if after is None or changed.status.phase.is_terminal or displaces:
            yield from (sibling.key for sibling in self._siblings(changed))
        waits = waits_for_retry(changed) or waits_for_right(changed)
        if after is None or changed.status.phase.is_terminal or waits:
            yield from self._index.held_below(config_of(changed))


def build_controller(builds: Builds, index: BuildIndex) -> Controller:
    """Return the controller that runs builds."""

    def unstarted(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        """Yield every build that may have waited for an image, in whatever namespace."""
        return (build.key for build in index.without_inputs())

    def beside(source: Resource) -> Iterable[ObjectKey]:
        """Yield the builds of a namespace that may have waited for an object of it."""
        return (b.key for b in index.without_inputs() if b.namespace == source.namespace)

    def queued(before: Wave | None, after: Wave | None) -> Iterable[ObjectKey]:
        """Yield the builds that wait for a slot when the severity of a Wave changes."""
        ranks = [urgency_of(one) if one is not None else 0 for one in (before, after)]
        return builds.queued() if ranks[0] != ranks[1] else ()

    def held(before: BuildConfig | None, after: BuildConfig | None) -> Iterable[ObjectKey]:
        """Return the queued builds that may have waited for one of a BuildConfig."""
        if before is None or after is None or before.generation != after.generation:
            return index.held()  # others may stand on it now
        return index.held_below(after.key)

    def outdated(stream: ImageStream) -> Iterable[ObjectKey]:
        """Yield the queued builds that may have waited for one that this stream makes due."""
        for config in index.followers(stream) if index.held() else ():
            yield from index.held_below(config)

    watches = (
        Watch(Build, builds.woken),
        Watch(BuildConfig, held),
        Watch(ImageStream, of_both(outdated)),
        Watch(Wave, queued),
        Watch(ImageStream, unstarted),
        Watch(Secret, of_both(beside)),
        Watch(ConfigMap, of_both(beside)),
    )
    return Controller(
        "builds", builds, index.cache, watches, queue=builds.queue, lifespan=builds.lifespan
    )
