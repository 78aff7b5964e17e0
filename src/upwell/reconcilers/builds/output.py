"""The ImageStream tag that a build's image goes to."""

from collections.abc import Callable
from datetime import datetime

from upwell.api.build import Build
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.builder.interface import BuildError
from upwell.oci import Digest
from upwell.policy.images.streams import split_tag, take_push
from upwell.registry.errors import RegistryError
from upwell.registry.interface import InternalRegistry
from upwell.store.interface import ConflictError, NotFoundError, Store

_WRITE_TRIES = 20


class BuildOutputs:
    """Writer of built images into the streams that they go to."""

    def __init__(
        self, store: Store, internal: InternalRegistry, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._internal = internal
        self._clock = clock

    async def stream(self, build: Build) -> tuple[ImageStream, str] | None:
        """Return the stream and the tag that the build goes to; None when it goes to none.

        Raises BuildError for a stream that does not exist: the result would be lost.
        """
        target = build.spec.output.to
        if target is None or target.kind != IMAGE_STREAM_TAG:
            return None
        name, tag = split_tag(target, build.namespace)
        try:
            return await self._store.get(ImageStream, name.namespace, name.name), tag
        except NotFoundError as error:
            raise BuildError(
                "InvalidOutputReference",
                f"output ImageStream {name.namespace}/{name.name} does not exist: create it",
                retryable=True,
            ) from error

    async def release(self, build: Build, digest: Digest) -> None:
        """Make the digest the output tag's newest, in the registry and in the stream.

        Both before the Build is Complete: who waits for this build finds its result.
        """
        for _ in range(_WRITE_TRIES):
            output = await self.stream(build)
            if output is None:
                return
            stream, tag = output
            path = f"{stream.namespace}/{stream.name}"
            try:
                await self._internal.tag(path, tag, digest)
            except RegistryError as error:
                raise BuildError(
                    "PushImageToRegistryFailed",
                    f"Failed to push the image to the registry. {error}",
                ) from error
            repository = f"{self._internal.host}/{path}"
            status = take_push(stream.status, repository, tag, digest, self._clock())
            try:
                await self._store.update_status(stream.with_status(status))
            except (ConflictError, NotFoundError):
                continue  # written by somebody else, or deleted: read it again
            return
        raise ConflictError(build.key)

    def pull_spec(self, build: Build) -> str | None:
        """Return where the build's image is found by its tag; None when it goes nowhere."""
        target = build.spec.output.to
        if target is None or target.kind != IMAGE_STREAM_TAG:
            return target.name if target is not None else None
        stream, tag = split_tag(target, build.namespace)
        return f"{self._internal.host}/{stream.repository}:{tag}"
