"""Builds that somebody asks for: a person, a webhook, an upload."""

from collections.abc import Callable
from contextlib import suppress

from upwell.api.build import BinaryBuildSource, BinaryInput, Build, BuildConfig, BuildRequest
from upwell.api.meta import ObjectKey
from upwell.policy.builds.requests import requested_build, requested_clone, require_effect
from upwell.reconcilers.builds.context import BuildContext, config_of
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError
from upwell.store.retry import update_with_retry


class BuildActions:
    """Builds on demand. Methods return the new Build; raise BuildRefusedError or StoreError."""

    def __init__(self, index: BuildIndex) -> None:
        self._store = index.cache.store
        self._index = index

    async def instantiate(self, namespace: str, name: str, request: BuildRequest) -> Build:
        """Start a build of a BuildConfig."""
        config = await self._store.get(BuildConfig, namespace, name)
        require_effect(config, request)
        await self._index.cache.wait_for(config)
        key = config.key

        def make(context: BuildContext) -> Build:
            config = context.configs.get(key)
            if config is None:
                raise NotFoundError(key)
            images = context.followed(config)
            return requested_build(config, context.streams, context.earlier(key), images, request)

        return await self._create(key, make)

    async def instantiate_binary(
        self, namespace: str, name: str, upload: BinaryInput, *, unless_built: bool = False
    ) -> Build:
        """Start a build of a BuildConfig from uploaded content, whatever its source is.

        `unless_built`: it takes the image that equal inputs have made before.
        """
        binary = BinaryBuildSource(as_file=upload.as_file, digest=upload.digest)
        request = BuildRequest(binary=binary, revision=upload.revision, unless_built=unless_built)
        return await self.instantiate(namespace, name, request)

    async def clone(self, namespace: str, name: str, request: BuildRequest) -> Build:
        """Make the Build `name` again from the same inputs."""
        original = await self._store.get(Build, namespace, name)
        require_effect(original, request)
        key = config_of(original)

        def make(context: BuildContext) -> Build:
            return requested_clone(
                original, context.configs.get(key), context.earlier(key), request
            )

        return await self._create(key, make)

    async def _create(self, key: ObjectKey, make: Callable[[BuildContext], Build]) -> Build:
        """Create what `make` decides for the BuildConfig `key`."""

        async def made() -> Build:
            return make(await self._index.context_of(key))

        async def create(build: Build) -> Build:
            try:
                return await self._store.create(build)
            except AlreadyExistsError as error:
                # Another build took the number: go on from what the index shows then.
                with suppress(NotFoundError):
                    await self._index.cache.wait_for(
                        await self._store.get(Build, build.namespace, build.name)
                    )
                why = "other builds are being started at the same time; try again"
                raise ConflictError(key, why) from error

        return await update_with_retry(made, create)
