"""BuildConfigs: starts a Build when an input has changed, and says why it does or does not.

A Build's name follows from its number, and what it was started with stands in its spec: a killed
reconcile that comes again finds the Build and starts no second one.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from upwell.api.build import (
    BUILD_CONFIG_LABEL,
    Build,
    BuildConfig,
    ImageChangeTriggerStatus,
)
from upwell.api.conditions import find, set_condition
from upwell.api.defaults import DEFAULT_HISTORY_LIMIT, DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey, ObjectReference, Resource
from upwell.controller import Controller, Result, Watch
from upwell.policy.build_analysis import missing_inputs, references
from upwell.policy.build_triggers import (
    Decision,
    FollowedImage,
    Hold,
    StartBuild,
    UpToDate,
    decide,
    tracked_names,
)
from upwell.policy.new_build import (
    Start,
    UnresolvedInputError,
    last_binary_input,
    new_build,
)
from upwell.policy.run_policy import beyond_history, newest, number_of
from upwell.policy.streams import StreamName
from upwell.reconcilers.build_world import World, config_of
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    Selector,
    Store,
)

log = logging.getLogger(__name__)

CURRENT = "Current"
"""Condition of a BuildConfig: whether the newest build has the present inputs."""

READY = "Ready"
"""Condition of a BuildConfig: whether a build could start: its inputs exist, without a cycle."""

_UPSTREAM_BUILDING = "UpstreamBuilding"


class BuildConfigs:
    """Reconciles BuildConfigs."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        watches = (
            Watch(BuildConfig, self._with_dependents),
            Watch(ImageStream, self._followers),
            Watch(Build, self._of_build),
        )
        self._controller = Controller("build-configs", self, store, watches)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Start the build that is due, if one is, and record the decision."""
        world = await World.read(self._store)
        config = world.configs.get(key)
        if config is None or config.is_deleting:
            return Result()
        await self._prune(config, world.builds(key))
        images = world.followed(config)
        last = newest(world.builds(key))
        is_new = config.status.last_version == 0 and last is None
        decision = decide(config, images, is_new=is_new, busy=world.busy_upstream(key))
        if isinstance(decision, StartBuild):
            decision = await self._start(config, world, images, decision)
        await self._record(config, world, images, decision)
        return Result()

    async def _start(
        self,
        config: BuildConfig,
        world: World,
        images: Sequence[FollowedImage],
        decision: StartBuild,
    ) -> Decision:
        start = Start(decision.causes)
        try:
            build = new_build(config, world.streams, world.earlier(config.key), images, start)
        except UnresolvedInputError as error:
            return Hold(error.reason, str(error))
        try:
            started = await self._store.create(build)
        except AlreadyExistsError as error:
            # Somebody started a build since this state was read: decide again.
            raise ConflictError(config.key) from error
        log.info("build started", extra={"key": str(started.key), "causes": len(decision.causes)})
        return UpToDate("BuildStarted", f"build {started.name} was started")

    async def _record(
        self,
        config: BuildConfig,
        world: World,
        images: Sequence[FollowedImage],
        decision: Decision,
    ) -> None:
        """Write the decision and the trigger memory; an equal status is not written."""
        config = await self._store.get(BuildConfig, config.namespace, config.name)
        builds = await self._builds_of(config)
        last = newest(builds) or newest(world.builds(config.key))
        now = self._clock()
        match decision:
            case Hold(reason, message):
                condition = Condition(type=CURRENT, status="False", reason=reason, message=message)
            case UpToDate(reason, message):
                condition = Condition(type=CURRENT, status="True", reason=reason, message=message)
            case StartBuild():
                return
        conditions = config.status.conditions
        for found in (condition, _readiness(world, config, images)):
            observed = found.model_copy(update={"observed_generation": config.generation})
            conditions = set_condition(conditions, observed, now)
        status = config.status.model_copy(
            update={
                "last_version": max([config.status.last_version, *(number_of(b) for b in builds)]),
                "image_change_triggers": _trigger_memory(config, images, last, now),
                "binary_input": last_binary_input(config, builds),
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
        good = spec.successful_builds_history_limit
        bad = spec.failed_builds_history_limit
        for build in beyond_history(
            builds,
            DEFAULT_HISTORY_LIMIT if good is None else good,
            DEFAULT_HISTORY_LIMIT if bad is None else bad,
        ):
            with suppress(NotFoundError):  # somebody else did it
                await self._store.delete(Build, build.namespace, build.name)

    async def _builds_of(self, config: BuildConfig) -> Sequence[Build]:
        selector = Selector(config.namespace, {BUILD_CONFIG_LABEL: config.name})
        return (await self._store.list(Build, selector)).items

    async def _followers(self, changed: Resource) -> Iterable[ObjectKey]:
        """Map a stream to the BuildConfigs that follow one of its tags, in either way."""
        name = StreamName(changed.namespace, changed.name)
        configs = (await self._store.list(BuildConfig)).items
        return [config.key for config in configs if _may_follow(config, name)]

    async def _with_dependents(self, changed: Resource) -> Iterable[ObjectKey]:
        return [changed.key, *await self._waiting()]

    async def _of_build(self, changed: Resource) -> Iterable[ObjectKey]:
        """Map a build to its BuildConfig, and to those that wait for a build above them."""
        if not isinstance(changed, Build):
            return []
        return [config_of(changed), *await self._waiting()]

    async def _waiting(self) -> list[ObjectKey]:
        waiting = []
        for config in (await self._store.list(BuildConfig)).items:
            condition = find(config.status.conditions, CURRENT)
            if condition is not None and condition.reason == _UPSTREAM_BUILDING:
                waiting.append(config.key)
        return waiting


def _trigger_memory(
    config: BuildConfig, images: Sequence[FollowedImage], last: Build | None, now: datetime
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


def _may_follow(config: BuildConfig, stream: StreamName) -> bool:
    """Whether a decision about `config` looks at `stream`."""
    if config.status.tracked_images:
        return True
    named = [*references(config), *((config.spec.output.to,) if config.spec.output.to else ())]
    return any(
        (reference.namespace or config.namespace, _stream_of(reference))
        == (stream.namespace, stream.name)
        for reference in named
        if reference.kind != DOCKER_IMAGE
    )


def _stream_of(reference: ObjectReference) -> str:
    return reference.name.partition("@")[0].partition(":")[0]


def _readiness(world: World, config: BuildConfig, images: Sequence[FollowedImage]) -> Condition:
    """Say whether a build of `config` could start now, and would end."""
    cyclic = [image.name for image in images if image.cyclic]
    missing = missing_inputs(config, world.streams)
    if missing:
        status, reason, message = "False", "InputsMissing", "; ".join(missing)
    elif cyclic:
        message = f"{', '.join(cyclic)} is made from this BuildConfig's own result: not followed"
        status, reason = "False", "Cycle"
    else:
        status, reason, message = "True", "InputsFound", "every image of a stream is there"
    return Condition(type=READY, status=status, reason=reason, message=message)
