"""Builds that somebody asks for: a person, a webhook, an upload."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from upwell.api.builds.build import Build, BuildRequest
from upwell.api.builds.config import BinaryInput, BuildConfig
from upwell.api.builds.inputs import BinaryBuildSource
from upwell.api.meta import ObjectKey
from upwell.policy.access.content import decides_content
from upwell.policy.builds.requests import (
    BuildRefusedError,
    RequestedBuild,
    repeated_build,
    requested_build,
    requested_clone,
    require_effect,
)
from upwell.reconcilers.builds.context import BuildContext, config_of
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError
from upwell.store.retry import update_with_retry


@dataclass(frozen=True, slots=True)
class BuildClient:
    """The client that asks for a build: the author of what they say about its content."""

    name: str
    permit: Callable[[Build], None]
    """Raises what the client's rights refuse the build with."""


class BuildActions:
    """Builds on demand. Methods return the new Build; raise BuildRefusedError or StoreError.

    With `dry_run` they return it as it would be, and write nothing.
    """

    def __init__(self, index: BuildIndex) -> None:
        self._store = index.cache.store
        self._index = index

    async def instantiate(
        self,
        namespace: str,
        name: str,
        request: BuildRequest,
        client: BuildClient | None = None,
        *,
        dry_run: bool = False,
    ) -> Build:
        """Start a build of a BuildConfig; without a client, its author stands for all of it.

        A webhook gets the newest build if that is what it asks for (`repeated_build`).

        None starts on an image that waits for an approval: to ask for a build is not to approve it.
        """
        config = await self._store.get(BuildConfig, namespace, name)
        require_effect(config, request)
        await self._index.cache.wait_for(config)
        key, asked = config.key, _asked(request, client)

        def make(context: BuildContext) -> Build:
            config = context.configs.get(key)
            if config is None:
                raise NotFoundError(key)
            if waits := context.unapproved(config):
                raise BuildRefusedError(f"{key} is not built now: {'; '.join(waits)}")
            images = context.followed(config)
            earlier = context.earlier(key)
            made = requested_build(config, context.streams, earlier, images, asked)
            return repeated_build(config, made, earlier) or made

        client = client if asked.decided_by else None
        return await self._create(key, make, client, dry_run=dry_run)

    async def instantiate_binary(
        self,
        namespace: str,
        name: str,
        upload: BinaryInput,
        client: BuildClient | None = None,
        *,
        unless_built: bool = False,
        dry_run: bool = False,
    ) -> Build:
        """Start a build of a BuildConfig from uploaded content, whatever its source is.

        `unless_built`: it takes the image that equal inputs have made before.
        """
        binary = BinaryBuildSource(as_file=upload.as_file, digest=upload.digest)
        request = BuildRequest(binary=binary, revision=upload.revision, unless_built=unless_built)
        return await self.instantiate(namespace, name, request, client, dry_run=dry_run)

    async def clone(
        self,
        namespace: str,
        name: str,
        request: BuildRequest,
        client: BuildClient | None = None,
        *,
        dry_run: bool = False,
    ) -> Build:
        """Make the Build `name` again from the same inputs."""
        original = await self._store.get(Build, namespace, name)
        require_effect(original, request)
        key, asked = config_of(original), _asked(request, client)

        def make(context: BuildContext) -> Build:
            return requested_clone(original, context.configs.get(key), context.earlier(key), asked)

        client = client if asked.decided_by else None
        return await self._create(key, make, client, dry_run=dry_run)

    async def cancel(self, namespace: str, name: str, *, dry_run: bool = False) -> Build:
        """Have the Build `name` end as Cancelled; one that has ended stays as it is."""

        async def write(build: Build) -> Build:
            if build.status.phase.is_terminal or build.status.cancelled:
                return build
            status = build.status.model_copy(update={"cancelled": True})
            ending = build.with_status(status)
            return ending if dry_run else await self._store.update_status(ending)

        return await update_with_retry(lambda: self._store.get(Build, namespace, name), write)

    async def _create(
        self,
        key: ObjectKey,
        make: Callable[[BuildContext], Build],
        client: BuildClient | None,
        *,
        dry_run: bool,
    ) -> Build:
        """Create what `make` decides for the BuildConfig `key`, if the client may have it."""

        async def made() -> Build:
            build = make(await self._index.context_of(key))
            if client is not None:
                client.permit(build)
            return build

        async def create(build: Build) -> Build:
            if build.metadata.resource_version:
                return build  # it is there already
            if dry_run:
                return build.with_status(Build.first_status())
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


def _asked(request: BuildRequest, client: BuildClient | None) -> RequestedBuild:
    decides = client is not None and decides_content(request)
    return RequestedBuild(request, client.name if client is not None and decides else "")
