"""BuildConfigs: starts a Build when an input has changed, and says why it does or does not.

A Build's name follows from its number, and what it was started with stands in its spec: a killed
reconcile that comes again finds the Build and starts no second one.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from upwell.api.builds.build import Build, BuildTriggerCause
from upwell.api.builds.config import BuildConfig, ImageChangeTriggerStatus
from upwell.api.conditions import DEGRADED, find, set_condition
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey
from upwell.api.pipeline import Quarantine
from upwell.api.values.base_changes import OnBaseChange
from upwell.api.waves.wave import Wave
from upwell.controller import Controller, Result, Watch, of_both
from upwell.policy.builds.base_changes import answer_of, rebase_answer
from upwell.policy.builds.failures import waits_for_retry
from upwell.policy.builds.input_analysis import missing_inputs
from upwell.policy.builds.new_build import (
    NO_BINARY_INPUT,
    BuildStart,
    UnresolvedInputError,
    awaited_upload,
    awaits_upload,
    last_binary_input,
    new_build,
)
from upwell.policy.builds.run_policy import beyond_history, newest, number_of, queued_for_images
from upwell.policy.builds.triggers import (
    BASE_CHANGED,
    CURRENT,
    Decision,
    FollowedTag,
    Hold,
    StartBuild,
    UpToDate,
    decide,
    renewed_status,
    tracked_names,
    with_newest_inputs,
)
from upwell.policy.health.builds import build_degradation
from upwell.policy.waves.approval import approval_view
from upwell.policy.waves.gate import bar_of_wave
from upwell.reconcilers.builds.context import BuildContext, config_of, waits_for_right
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
)

log = logging.getLogger(__name__)

READY = "Ready"
"""Condition of a BuildConfig: whether a build could start: its inputs exist, without a cycle."""


class BuildConfigs:
    """Reconciles BuildConfigs."""

    def __init__(self, index: BuildIndex, *, clock: Callable[[], datetime]) -> None:
        self._cache = index.cache
        self._store = index.cache.store
        self._index = index
        self._clock = clock
        self._started: dict[ObjectKey, Build] = {}
        """Builds that were started, until the cache has them."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Start the build that is due, if one is, and record the decision."""
        started = self._started.pop(key, None)
        if started is not None:
            await self._cache.wait_for(started)
        context = await self._index.context_of(key)
        config = context.configs.get(key)
        if config is None or config.is_deleting:
            return Result()
        await self._prune(config, context.builds(key))
        images = context.followed(config)
        last = newest(context.builds(key))
        is_new = config.status.last_version == 0 and last is None
        decision: Decision
        if awaits_upload(config, context.builds(key)):
            decision = Hold(NO_BINARY_INPUT, awaited_upload(config))
        else:
            decision = decide(
                config,
                images,
                is_new=is_new,
                busy=context.busy_upstream(key),
                besides=context.besides(config),
            )
        if isinstance(decision, StartBuild):
            decision = await self._start(config, context, images, decision)
        await self._record(config, context, images, decision)
        return Result()

    @staticmethod
    def _causes(
        context: BuildContext, config: BuildConfig, queued: Build
    ) -> tuple[BuildTriggerCause, ...]:
        """Return why a build is due since the one before `queued`."""
        images = context.followed(config, without=queued)
        decision = decide(config, images, is_new=False, busy=())
        return decision.causes if isinstance(decision, StartBuild) else queued.spec.triggered_by

    async def _start(
        self,
        config: BuildConfig,
        context: BuildContext,
        images: Sequence[FollowedTag],
        decision: StartBuild,
    ) -> Decision:
        queued = queued_for_images(context.builds(config.key))
        causes = self._causes(context, config, queued) if queued is not None else decision.causes
        answer = rebase_answer(config, context.builds(config.key), causes, context.on_base_change)
        start = BuildStart(causes, on_base_change=answer)
        try:
            build = new_build(config, context.streams, context.earlier(config.key), images, start)
        except UnresolvedInputError as error:
            return Hold(error.reason, str(error))
        if queued is not None:
            return await self._renew(config, queued, build)
        try:
            started = await self._store.create(build)
        except AlreadyExistsError as error:
            # Somebody started a build that the cache has not yet: decide again when it has.
            with suppress(NotFoundError):
                self._started[config.key] = await self._store.get(
                    Build, build.namespace, build.name
                )
            raise ConflictError(config.key) from error
        self._started[config.key] = started
        log.info("build created", extra={"key": str(started.key), "causes": len(decision.causes)})
        return UpToDate("BuildStarted", f"build {started.name} was started")

    async def _renew(self, config: BuildConfig, queued: Build, new: Build) -> Decision:
        """Give a build that has not begun the inputs of a newer one: it is the newer one then."""
        build = await self._store.get(Build, queued.namespace, queued.name)
        if build.uid != queued.uid or queued_for_images([build]) is None:
            self._started[config.key] = build
            raise ConflictError(config.key)  # it has begun meanwhile: decide again
        # First: what an attempt has found out of the old inputs must not meet the new ones.
        build = await self._store.update_status(build.with_status(renewed_status(build.status)))
        build = await self._store.update(with_newest_inputs(build, new))
        self._started[config.key] = build
        log.info(
            "queued build renewed", extra={"key": str(build.key), "times": build.status.renewed}
        )
        text = f"build {build.name}, which has not begun, has the newest images"
        return UpToDate("BuildQueued", text)

    async def _record(
        self,
        config: BuildConfig,
        context: BuildContext,
        images: Sequence[FollowedTag],
        decision: Decision,
    ) -> None:
        """Write the decision and the trigger memory; an equal status is not written."""
        config = await self._store.get(BuildConfig, config.namespace, config.name)
        started = self._started.get(config.key)
        builds = [*context.builds(config.key), *([started] if started else [])]
        last = newest(builds)
        now = self._clock()
        match decision:
            case Hold(reason, message):
                condition = Condition(type=CURRENT, status="False", reason=reason, message=message)
            case UpToDate(reason, message):
                condition = Condition(type=CURRENT, status="True", reason=reason, message=message)
            case StartBuild():
                return
        answer = answer_of(config, context.on_base_change)
        conditions = _without_older_base(config.status.conditions, condition)
        degraded = build_degradation(last, find(conditions, DEGRADED))
        found_now = [condition, _readiness(context, config, images)]
        for found in (*found_now, *([degraded] if degraded is not None else [])):
            observed = found.model_copy(update={"observed_generation": config.generation})
            conditions = set_condition(conditions, observed, now)
        status = config.status.model_copy(
            update={
                "last_version": max([config.status.last_version, *(number_of(b) for b in builds)]),
                "image_change_triggers": _trigger_memory(config, images, last, now),
                "binary_input": last_binary_input(config, builds),
                "on_base_change": None if answer is OnBaseChange.REBUILD else answer,
                "tracked_images": (
                    tracked_names(last)
                    if last is not None and last.status.images
                    else config.status.tracked_images
                ),
                "observed_generation": config.generation,
                "conditions": conditions,
            }
        )
        await self._store.update_status(config.with_status(status))

    async def _prune(self, config: BuildConfig, builds: Sequence[Build]) -> None:
        spec = config.spec
        good, bad = spec.successful_builds_history_limit, spec.failed_builds_history_limit
        for build in beyond_history(builds, good, bad):
            # Somebody else did it, or it has changed, which brings this here again.
            with suppress(NotFoundError, ConflictError):
                await self._store.delete(
                    Build, build.namespace, build.name, resource_version=build.resource_version
                )


def build_config_controller(
    index: BuildIndex, clock: Callable[[], datetime], *, workers: int = 4
) -> Controller:
    """Return the controller that starts builds."""

    def of_config(config: BuildConfig) -> Iterable[ObjectKey]:
        return (config.key, *index.waiting_below(config.key))

    def of_build(before: Build | None, after: Build | None) -> Iterable[ObjectKey]:
        """Look at the build's BuildConfig, and at those that wait for a build above them."""
        for config in {config_of(build) for build in (before, after) if build is not None}:
            yield config
            if before is None or after is None or _has_ended(before) != _has_ended(after):
                yield from index.waiting_below(config)

    def every_config(_before: Quarantine | None, _after: Quarantine | None) -> Iterable[ObjectKey]:
        return index.every_config()

    def opened(before: Wave | None, after: Wave | None) -> Iterable[ObjectKey]:
        """Look at every BuildConfig when a Wave keeps its image back, or does no more.

        At those that wait for an approval, when one was given for a stream, or a Wave was made.
        """
        bars = [bar_of_wave(one) if one is not None else None for one in (before, after)]
        if bars[0] != bars[1]:
            yield from index.every_config()
        elif approval_view(before) != approval_view(after):
            yield from index.unapproved()

    watches = (
        Watch(BuildConfig, of_both(of_config)),
        Watch(ImageStream, of_both(index.followers)),
        Watch(Build, of_build),
        Watch(Quarantine, every_config),
        Watch(Wave, opened),
    )
    reconciler = BuildConfigs(index, clock=clock)
    return Controller("build-configs", reconciler, index.cache, watches, workers=workers)


def _without_older_base(conditions: Sequence[Condition], found: Condition) -> tuple[Condition, ...]:
    """Return conditions without news of a base before: each change is told, with its own time."""
    return tuple(
        one
        for one in conditions
        if not (one.reason == found.reason == BASE_CHANGED and one.message != found.message)
    )


def _has_ended(build: Build) -> bool:
    """Return True if nobody waits for it: it has ended, or waits for a retry or a right itself."""
    return build.status.phase.is_terminal or waits_for_retry(build) or waits_for_right(build)


def _trigger_memory(
    config: BuildConfig, images: Sequence[FollowedTag], last: Build | None, now: datetime
) -> tuple[ImageChangeTriggerStatus, ...]:
    """Return what each followed tag was last built with; unchanged entries keep their time."""
    old = {
        (entry.from_.namespace, entry.from_.name): entry
        for entry in config.status.image_change_triggers
    }
    inputs = last.spec.image_inputs if last else ()
    built = {(entry.from_.namespace, entry.from_.name): entry.image for entry in inputs}
    memory = []
    for image in images:
        tag = (image.reference.namespace, image.reference.name)
        pull_spec = built.get(tag) or image.built or ""
        before = old.get(tag)
        if before is not None and before.last_triggered_image_id == pull_spec:
            memory.append(before)
        elif pull_spec:
            memory.append(
                ImageChangeTriggerStatus(
                    from_=image.reference,
                    last_triggered_image_id=pull_spec,
                    last_trigger_time=now,
                )
            )
    return tuple(memory)


def _readiness(
    context: BuildContext, config: BuildConfig, images: Sequence[FollowedTag]
) -> Condition:
    """Say whether a build of `config` could start now, and would end."""
    cyclic = [image.name for image in images if image.cyclic]
    missing = missing_inputs(config, context.streams)
    if missing:
        status, reason, message = "False", "InputsMissing", "; ".join(missing)
    elif awaits_upload(config, context.builds(config.key)):
        status, reason, message = "False", NO_BINARY_INPUT, awaited_upload(config)
    elif cyclic:
        message = f"{', '.join(cyclic)} is made from this BuildConfig's own result: not followed"
        status, reason = "False", "Cycle"
    else:
        status, reason, message = "True", "InputsFound", "every image of a stream is there"
    return Condition(type=READY, status=status, reason=reason, message=message)
