"""Builds: runs each one once, in the order that its run policy allows, and cleans up after it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import random
from typing import Any

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildPhase, RunPolicy
from upwell.api.core import ConfigMap, Secret
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.builder.interface import Builder, BuildError, BuildLogs
from upwell.controller import Backoff, Controller, Result, Watch, WorkQueue, of_both
from upwell.policy.builds.failures import status_message, status_reason
from upwell.policy.builds.run_policy import blocked_by, policy_of, superseded
from upwell.reconcilers.builds.context import config_of
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.run import BuildRun, write_status
from upwell.store.interface import NotFoundError, StoreError

log = logging.getLogger(__name__)

LOG_SNIPPET_LINES = 20
MAX_ATTEMPTS = 8
"""A fault that may pass is waited out for about five minutes, then the build fails."""

_STORE_PAUSE = 5.0
"""Seconds before a build that the store interrupted is looked at again."""


class Builds:
    """Reconciles Builds.

    Runs them as tasks of its `lifespan`; a run that ends, however it ends, is looked at again by
    the reconciler. `slots` is how many run at once on this machine.
    """

    def __init__(
        self,
        index: BuildIndex,
        builder: Builder,
        logs: BuildLogs,
        run: BuildRun,
        *,
        slots: int,
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
        self._slots = slots
        self._clock = clock
        self._backoff = Backoff(first=5, longest=120, jitter=jitter)
        self._tasks: dict[ObjectKey, asyncio.Task[None]] = {}
        self._waiting: set[ObjectKey] = set()
        """Builds to look at again when any run ends."""
        self._interrupted: set[ObjectKey] = set()
        """Builds whose last try the store cut off: no fault of theirs, so it does not count."""
        self._uids: dict[ObjectKey, str] = {}
        """Builds that may have left a folder or a log, for when they are deleted."""
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Clean up after an earlier process; on the way out, stop what runs."""
        await self._builder.recover()
        async with asyncio.TaskGroup() as group:
            self._group = group
            yield

    async def reconcile(self, key: ObjectKey) -> Result:
        """Start, cancel or clean up the build that `key` names."""
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
            return Result()
        if build.status.cancelled:
            await self._stop(key)
            await self._end(build, BuildPhase.CANCELLED, "CancelledBuild", "")
            return Result()
        later = superseded(build, self._siblings(build))
        if later is not None:
            await self._stop(key)
            message = f"build {later.name} takes its place (runPolicy SerialLatestOnly)"
            await self._end(build, BuildPhase.CANCELLED, "CancelledBuild", message)
            return Result()
        if key in self._tasks:
            self._waiting.add(key)
            return Result()
        return await self._start(build)

    async def _start(self, build: Build) -> Result:
        if build.spec.strategy.type is None:
            await self._end(build, BuildPhase.ERROR, "InvalidStrategy", "spec.strategy is empty")
            return Result()
        due = build.status.retry_time
        if due is not None and due > self._clock():
            return Result(requeue_after=(due - self._clock()).total_seconds())
        missing = await self._run.missing_input(build)
        if missing is not None and build.spec.source.binary is not None:
            # Whoever uploaded waits for it now (as in OpenShift).
            await self._end(build, BuildPhase.FAILED, missing.reason, missing.message)
            return Result()
        siblings = self._siblings(build)
        obstacle = self._obstacle(build, siblings)
        if obstacle is None and missing is not None:
            obstacle = missing.reason, status_message(missing.reason, missing.message)
        if obstacle is not None:
            self._waiting.add(build.key)
            await self._write(build, {"reason": obstacle[0], "message": obstacle[1]})
            return Result()
        # Taken before the next await: two workers may be here with two builds.
        self._launch(build)
        return Result()

    def _launch(self, build: Build) -> None:
        if self._group is None:
            raise RuntimeError("a build is started within the lifespan alone")
        task = self._group.create_task(self._execute(build), name=f"build:{build.key}")
        self._tasks[build.key] = task
        # A task that is cancelled before its first step runs none of its own clean-up.
        task.add_done_callback(lambda _: self._ended(build.key))

    def _ended(self, key: ObjectKey) -> None:
        """Give the slot back, and look again at all that may have waited for it."""
        del self._tasks[key]
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            self.queue.add(waiter)

    def _obstacle(self, build: Build, siblings: Sequence[Build]) -> tuple[str, str] | None:
        """Return reason and message of what the build waits for; its end brings us back."""
        if build.spec.strategy.jenkins_pipeline_strategy is not None:
            return "JenkinsPipeline", "is left to the outside CI"
        blocker = blocked_by(build, siblings)
        if blocker is not None:
            return "RunPolicy", blocker
        if len(self._tasks) >= self._slots:
            busy = f"{len(self._tasks)} of {self._slots} in use"
            return "NoFreeSlot", f"waits for a free build slot: {busy}"
        return None

    async def _execute(self, build: Build) -> None:
        """Run one build; how it ends is recorded on it, never raised."""
        try:
            await self._attempt(build)
        except NotFoundError:
            log.info("build deleted while it ran", extra={"key": str(build.key)})
        except StoreError:
            # The store does not take writes now (a full disk, say): look again when it does.
            self._interrupted.add(build.key)
            log.exception("build interrupted by the store", extra={"key": str(build.key)})
            self.queue.add_after(build.key, _STORE_PAUSE)

    async def _attempt(self, build: Build) -> None:
        phase = build.status.phase
        tried = build.status.attempts
        again = build.key in self._interrupted and tried > 0
        started = {
            "phase": BuildPhase.PENDING if phase is BuildPhase.NEW else phase,
            "start_timestamp": build.status.start_timestamp or self._clock(),
            "attempts": tried if again else tried + 1,
            "reason": None,
            "message": None,
        }
        build = await write_status(self._store, build, started)
        self._interrupted.discard(build.key)
        try:
            await self._run.run(build)
        except BuildError as error:
            await self._failed(build, error)
        except StoreError:
            raise
        except Exception as error:
            log.exception("build failed by a fault of ours", extra={"key": str(build.key)})
            await self._failed(build, BuildError("GenericBuildFailed", f"internal error: {error}"))

    async def _failed(self, build: Build, error: BuildError) -> None:
        attempts = build.status.attempts
        if error.retryable and attempts < MAX_ATTEMPTS:
            delay = self._backoff.delay(attempts)
            retry = self._clock() + timedelta(seconds=delay)
            message = status_message(error.reason, str(error))
            message = f"{message}; try {attempts + 1} of {MAX_ATTEMPTS} at {retry:%H:%M:%S}Z"
            changes = {
                "phase": BuildPhase.NEW,
                "retry_time": retry,
                "reason": status_reason(error.reason),
                "message": message,
            }
            await self._write(build, changes)
            self.queue.add_after(build.key, delay)
            return
        unresolvable = error.reason == "UnresolvableEnvironmentVariable"
        phase = BuildPhase.ERROR if unresolvable else BuildPhase.FAILED
        await self._end(build, phase, error.reason, str(error))

    async def _end(self, build: Build, phase: BuildPhase, reason: str, message: str) -> None:
        now = self._clock()
        changes = {
            "phase": phase,
            "reason": status_reason(reason),
            "message": status_message(reason, message),
            "retry_time": None,
            "completion_timestamp": now,
            "log_snippet": self._logs.tail(build.uid, LOG_SNIPPET_LINES) or None,
        }
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

    async def _forget(self, key: ObjectKey) -> None:
        """Remove all that a deleted build has left: its run, its folder, its log."""
        await self._stop(key)
        self._interrupted.discard(key)
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

    def woken(self, before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
        """Yield a changed build, and after one has ended those that may have waited for it.

        A new one under SerialLatestOnly brings us to those whose place it takes.
        """
        changed = after or before
        if changed is None:
            return
        yield changed.key
        displaces = (
            changed.status.phase is BuildPhase.NEW
            and policy_of(changed) is RunPolicy.SERIAL_LATEST_ONLY
        )
        if after is None or changed.status.phase.is_terminal or displaces:
            yield from (sibling.key for sibling in self._siblings(changed))


def build_controller(builds: Builds, index: BuildIndex) -> Controller:
    """Return the controller that runs builds."""

    def unstarted(_before: Resource | None, _after: Resource | None) -> Iterable[ObjectKey]:
        """Yield every build that may have waited for an image, in whatever namespace."""
        return (build.key for build in index.unstarted())

    def beside(source: Resource) -> Iterable[ObjectKey]:
        """Yield the builds of a namespace that may have waited for an object of it."""
        return (b.key for b in index.unstarted() if b.namespace == source.namespace)

    watches = (
        Watch(Build, builds.woken),
        Watch(ImageStream, unstarted),
        Watch(Secret, of_both(beside)),
        Watch(ConfigMap, of_both(beside)),
    )
    return Controller(
        "builds", builds, index.cache, watches, queue=builds.queue, lifespan=builds.lifespan
    )
