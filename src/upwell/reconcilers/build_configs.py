"""BuildConfigs: starts a Build when an input has changed, and says why it does or does not.

A Build's name follows from its number, and what it was started with stands in its spec: a killed
reconcile that comes again finds the Build and starts no second one.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import Any

from pydantic import ValidationError

from upwell.api.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    RUN_POLICY_LABEL,
    Build,
    BuildConfig,
    BuildSpec,
    BuildTriggerCause,
    CommonSpec,
    ImageChangeTriggerStatus,
)
from upwell.api.conditions import find, set_condition
from upwell.api.core import EnvVar
from upwell.api.defaults import DEFAULT_HISTORY_LIMIT, DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, ObjectKey, ObjectMeta, ObjectReference, Resource
from upwell.controller import Controller, Result, Watch
from upwell.policy.build_triggers import (
    MANUAL,
    Decision,
    FollowedImage,
    Hold,
    StartBuild,
    Streams,
    UpToDate,
    decide,
    followed_images,
    image_inputs,
    tracked_names,
)
from upwell.policy.graph import Graph, build_graph
from upwell.policy.run_policy import beyond_history, newest, number_of
from upwell.policy.streams import StreamName, resolve_tag, split_tag
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    RejectedError,
    Selector,
    Store,
)

log = logging.getLogger(__name__)

CURRENT = "Current"
"""Condition of a BuildConfig: whether the newest build has the present inputs."""

_UPSTREAM_BUILDING = "UpstreamBuilding"
_START_TRIES = 10


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
        self.build_keys = frozenset(build.key for build in builds)
        self._builds: dict[ObjectKey, list[Build]] = {}
        for build in builds:
            self._builds.setdefault(config_of(build), []).append(build)
        self._graph: Graph | None = None

    @classmethod
    async def read(cls, store: Store) -> "World":
        """Read everything; configs first, so that no later state judges an earlier one."""
        configs = await store.list(BuildConfig)
        builds = await store.list(Build)
        streams = await store.list(ImageStream)
        return cls(streams.items, configs.items, builds.items)

    def builds(self, config: ObjectKey) -> Sequence[Build]:
        """Return the builds of a BuildConfig."""
        return self._builds.get(config, ())

    def followed(self, config: BuildConfig) -> list[FollowedImage]:
        """Return what `config` follows, compared with its newest build."""
        return followed_images(config, self.streams, newest(self.builds(config.key)))

    def busy_upstream(self, config: ObjectKey) -> list[str]:
        """Name what will soon change an input of `config`: running and due builds above it."""
        if self._graph is None:
            self._graph = build_graph([*self.streams.values(), *self.configs.values()])
        found = []
        for key in sorted(self._graph.upstream(config)):
            above = self.configs.get(key)
            if above is None:
                continue
            running = [b for b in self.builds(key) if not b.status.phase.is_terminal]
            if running:
                found += [f"build {build.name}" for build in running]
            elif isinstance(self._due(above), StartBuild):
                found.append(f"BuildConfig {above.name}")
        return found

    def _due(self, config: BuildConfig) -> Decision:
        is_new = config.status.last_version == 0 and not self.builds(config.key)
        return decide(config, self.followed(config), is_new=is_new, busy=())


class BuildConfigs:
    """Reconciles BuildConfigs, and starts builds that a person asks for."""

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
        await self._record(config, images, last, decision)
        return Result()

    async def instantiate(self, namespace: str, name: str, request: Mapping[str, Any]) -> Build:
        """Start a build because a person asks; `request` is a BuildRequest (build/v1).

        Raises NotFoundError, or RejectedError when an input has no image.
        """
        for _ in range(_START_TRIES):
            world = await World.read(self._store)
            key = ObjectKey(BuildConfig.KIND.kind, namespace, name)
            config = world.configs.get(key)
            if config is None:
                raise NotFoundError(key)
            env = _requested_env(request)
            cause = BuildTriggerCause(message=str(request.get("message") or MANUAL))
            images = world.followed(config)
            try:
                build = _build(config, world, images, (cause,), forced=True, env=env)
            except _UnresolvedError as error:
                raise RejectedError(f"{key} cannot be built: {error}") from error
            try:
                return await self._store.create(build)
            except AlreadyExistsError:
                continue  # another build took the number
        raise ConflictError(key, "other builds are being started at the same time; try again")

    async def _start(
        self,
        config: BuildConfig,
        world: World,
        images: Sequence[FollowedImage],
        decision: StartBuild,
    ) -> Decision:
        try:
            build = _build(config, world, images, decision.causes)
        except _UnresolvedError as error:
            return Hold("ImageNotResolved", str(error))
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
        images: Sequence[FollowedImage],
        last: Build | None,
        decision: Decision,
    ) -> None:
        """Write the decision and the trigger memory; an equal status is not written."""
        config = await self._store.get(BuildConfig, config.namespace, config.name)
        builds = await self._builds_of(config)
        last = newest(builds) or last
        now = self._clock()
        match decision:
            case Hold(reason, message):
                condition = Condition(type=CURRENT, status="False", reason=reason, message=message)
            case UpToDate(reason, message):
                condition = Condition(type=CURRENT, status="True", reason=reason, message=message)
            case StartBuild():
                return
        condition = condition.model_copy(update={"observed_generation": config.generation})
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
        status = config.status.model_copy(
            update={
                "last_version": max([config.status.last_version, *(number_of(b) for b in builds)]),
                "image_change_triggers": tuple(memory),
                "tracked_images": (
                    tracked_names(last)
                    if last is not None and last.status.images
                    else config.status.tracked_images
                ),
                "observed_generation": config.generation,
                "conditions": set_condition(config.status.conditions, condition, now),
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


def config_of(build: Build) -> ObjectKey:
    """Return the key of the BuildConfig that a build belongs to."""
    name = build.labels.get(BUILD_CONFIG_LABEL, "")
    return ObjectKey(BuildConfig.KIND.kind, build.namespace, name)


def _requested_env(request: Mapping[str, Any]) -> tuple[EnvVar, ...]:
    """Return a BuildRequest's variables; raises RejectedError."""
    entries = request.get("env") or []
    if not isinstance(entries, list):
        raise RejectedError("BuildRequest.env must be a list")
    try:
        return tuple(EnvVar.model_validate(entry) for entry in entries)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise RejectedError(f"BuildRequest.env: {fault['msg']}") from None


class _UnresolvedError(Exception):
    """An image that the build needs has no digest yet."""


def _build(
    config: BuildConfig,
    world: World,
    images: Sequence[FollowedImage],
    causes: tuple[BuildTriggerCause, ...],
    *,
    forced: bool = False,
    env: tuple[EnvVar, ...] = (),
) -> Build:
    """Return the next Build of `config`, its base pinned; raises _UnresolvedError."""
    number = _next_number(config, world)
    spec = config.spec
    common = {name: getattr(spec, name) for name in CommonSpec.model_fields}
    common = {name: value for name, value in common.items() if name in spec.model_fields_set}
    common["strategy"] = _pinned_strategy(config, world.streams, env)
    return Build(
        metadata=ObjectMeta(
            name=_build_name(config, number),
            namespace=config.namespace,
            labels={
                **config.labels,
                "buildconfig": config.name,
                BUILD_CONFIG_LABEL: config.name,
                RUN_POLICY_LABEL: str(spec.run_policy or "Serial"),
            },
            annotations={
                BUILD_NUMBER_ANNOTATION: str(number),
                BUILD_CONFIG_LABEL: config.name,
            },
            owner_references=(config.owner_reference(),),
        ),
        spec=BuildSpec(
            **common,
            triggered_by=causes,
            image_inputs=image_inputs(images),
            forced=forced or None,
        ),
    )


def _build_name(config: BuildConfig, number: int) -> str:
    return f"{config.name}-{number}"


def _next_number(config: BuildConfig, world: World) -> int:
    """Return the first free number; a Build that somebody else made may have taken one."""
    last = newest(world.builds(config.key))
    first = max(config.status.last_version, number_of(last) if last else 0) + 1
    kind, namespace = Build.KIND.kind, config.namespace
    return next(
        number
        for number in count(first)
        if ObjectKey(kind, namespace, _build_name(config, number)) not in world.build_keys
    )


def _pinned_strategy(config: BuildConfig, streams: Streams, env: tuple[EnvVar, ...]) -> Any:
    strategy = config.spec.strategy
    for field in ("source_strategy", "docker_strategy"):
        part = getattr(strategy, field)
        if part is None:
            continue
        changes: dict[str, Any] = {}
        if part.from_ is not None:
            changes["from_"] = _pin(part.from_, config.namespace, streams)
        if env:
            changes["env"] = (*part.env, *env)
        return strategy.model_copy(update={field: part.model_copy(update=changes)})
    return strategy


def _pin(reference: ObjectReference, namespace: str, streams: Streams) -> ObjectReference:
    if reference.kind == DOCKER_IMAGE:
        return reference
    if reference.kind != IMAGE_STREAM_TAG:
        raise _UnresolvedError(f"{reference.kind} {reference.name} is not supported as a base yet")
    stream, tag = split_tag(reference, namespace)
    found = streams.get(stream)
    pull_spec = resolve_tag(found, tag) if found is not None else None
    if pull_spec is None:
        what = "has no image yet" if found is not None else "does not exist: apply its ImageStream"
        raise _UnresolvedError(f"ImageStreamTag {stream.namespace}/{stream.name}:{tag} {what}")
    return ObjectReference(kind=DOCKER_IMAGE, name=pull_spec)


def _may_follow(config: BuildConfig, stream: StreamName) -> bool:
    if config.status.tracked_images:
        return True
    changes = [trigger.image_change for trigger in config.spec.triggers]
    references = [config.spec.strategy.base, *(change.from_ for change in changes if change)]
    return any(
        reference is not None
        and reference.kind == IMAGE_STREAM_TAG
        and split_tag(reference, config.namespace)[0] == stream
        for reference in references
    )
