"""Builds that somebody asks for: a person, a webhook, an upload."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from upwell.api.build import (
    PAUSED_ANNOTATION,
    BinaryBuildSource,
    BinaryInput,
    Build,
    BuildConfig,
    BuildRequest,
    BuildTriggerCause,
)
from upwell.api.meta import ObjectKey
from upwell.policy.builds.new_build import (
    BuildStart,
    UnresolvedInputError,
    clone_build,
    new_build,
    vain_wishes,
)
from upwell.policy.builds.triggers import MANUAL
from upwell.reconcilers.builds.context import BuildContext, config_of
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    RejectedError,
)

_START_TRIES = 10


class BuildRequests:
    """Starts builds on demand. Methods raise NotFoundError, or RejectedError with a reason."""

    def __init__(self, index: BuildIndex) -> None:
        self._store = index.cache.store
        self._index = index

    async def instantiate(self, namespace: str, name: str, request: Mapping[str, Any]) -> Build:
        """Start a build of a BuildConfig; `request` is a BuildRequest (build/v1)."""
        return await self._instantiate(namespace, name, _decode(request))

    async def instantiate_binary(
        self, namespace: str, name: str, upload: BinaryInput, *, unless_built: bool = False
    ) -> Build:
        """Start a build of a BuildConfig from uploaded content, whatever its source is."""
        binary = BinaryBuildSource(as_file=upload.as_file, digest=upload.digest)
        request = BuildRequest(binary=binary, revision=upload.revision, unless_built=unless_built)
        return await self._instantiate(namespace, name, request)

    async def clone(self, namespace: str, name: str, request: Mapping[str, Any]) -> Build:
        """Make the Build `name` again from the same inputs."""
        start = _start(_decode(request))
        original = await self._store.get(Build, namespace, name)
        _require_effect(original, start)
        key = config_of(original)

        def make(world: BuildContext) -> Build:
            config = world.configs.get(key)
            if config is not None:
                _require_running(config, "clone")
            return clone_build(original, config, world.earlier(key), start)

        return await self._create(key, make)

    async def _instantiate(self, namespace: str, name: str, request: BuildRequest) -> Build:
        config = await self._store.get(BuildConfig, namespace, name)
        start = _start(request)
        _require_effect(config, start)
        await self._index.cache.wait_for(config)
        key = config.key

        def make(world: BuildContext) -> Build:
            config = world.configs.get(key)
            if config is None:
                raise NotFoundError(key)
            _require_running(config, "instantiate")
            _require_version(config, request.last_version)
            try:
                return new_build(
                    config,
                    world.streams,
                    world.earlier(key),
                    world.followed(config),
                    start,
                )
            except UnresolvedInputError as error:
                raise RejectedError(f"{key} cannot be built: {error}") from error

        return await self._create(key, make)

    async def _create(self, key: ObjectKey, make: Callable[[BuildContext], Build]) -> Build:
        """Create what `make` decides for the BuildConfig `key`."""
        for _ in range(_START_TRIES):
            build = make(await self._index.world(key))
            try:
                return await self._store.create(build)
            except AlreadyExistsError:
                # Another build took the number: go on from what the index shows then.
                with suppress(NotFoundError):
                    await self._index.cache.wait_for(
                        await self._store.get(Build, build.namespace, build.name)
                    )
        raise ConflictError(key, "other builds are being started at the same time; try again")


def _start(request: BuildRequest) -> BuildStart:
    causes = request.triggered_by or (BuildTriggerCause(message=MANUAL),)
    by_machine = request.unless_built or any(_is_webhook(cause) for cause in causes)
    return BuildStart(causes, request, forced=not by_machine)


def _is_webhook(cause: BuildTriggerCause) -> bool:
    """Whether a machine asks: it may ask twice for one commit, which is built once."""
    hooks = (
        cause.generic_web_hook,
        cause.github_web_hook,
        cause.gitlab_web_hook,
        cause.bitbucket_web_hook,
    )
    return any(hook is not None for hook in hooks)


def _require_running(config: BuildConfig, verb: str) -> None:
    if config.annotations.get(PAUSED_ANNOTATION) == "true":
        where = f"{config.namespace}/{config.name}"
        raise RejectedError(f"can't {verb} from BuildConfig {where}: BuildConfig is paused")


def _require_effect(target: BuildConfig | Build, start: BuildStart) -> None:
    """Refuse what a person asks for in vain; a webhook's wish may have no effect."""
    vain = vain_wishes(target.spec, start.request) if start.forced else ()
    if vain:
        raise RejectedError(f"{target.key} cannot be built like this: {'; '.join(vain)}")


def _require_version(config: BuildConfig, asked: int | None) -> None:
    have = config.status.last_version
    if asked is not None and asked != have:
        raise RejectedError(
            f"the LastVersion({have}) on build config {config.namespace}/{config.name} does not"
            f" match the build request LastVersion({asked})"
        )


def _decode(request: Mapping[str, Any]) -> BuildRequest:
    """Return the BuildRequest; raises RejectedError. Its values may be secret: none is told."""
    try:
        decoded = BuildRequest.model_validate_json(json.dumps(request))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        told = (f"{'.'.join(str(step) for step in f['loc'])}: {f['msg']}" for f in faults)
        raise RejectedError(f"BuildRequest: {'; '.join(told)}") from None
    if decoded.binary is not None:
        raise RejectedError("BuildRequest: binary: upload the content with instantiatebinary")
    return decoded
