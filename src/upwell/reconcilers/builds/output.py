"""The ImageStream tag that a build's image goes to."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.builder.interface import BuildError
from upwell.oci import Digest
from upwell.policy.images.streams import StreamTag, take_push
from upwell.registry.errors import RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, InternalRegistry, RequestAccess
from upwell.store.interface import ConflictError, NotFoundError, Store
from upwell.store.retry import update_with_retry

type SignPushed = Callable[[Build, Digest], Awaitable[str]]
"""Signs what a build has pushed, before anything else names it; returns why it cannot yet."""


type PushAccess = Callable[[Build], Awaitable[RequestAccess]]
"""Returns how a build's output is written to; raises BuildError."""


async def unsigned(_build: Build, _digest: Digest) -> str:
    """Sign nothing: signatures are switched off."""
    return ""


async def without_login(_build: Build) -> RequestAccess:
    """Return the access to a registry of this process."""
    return DEFAULT_ACCESS


class BuildOutputs:
    """Writer of built images into the streams that they go to."""

    def __init__(
        self,
        store: Store,
        internal: InternalRegistry,
        clock: Callable[[], datetime],
        sign: SignPushed = unsigned,
        access: PushAccess = without_login,
    ) -> None:
        self._access = access
        self.sign = sign
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
        named = StreamTag.of(target, build.namespace)
        try:
            return await self._store.get(ImageStream, named.namespace, named.stream), named.tag
        except NotFoundError as error:
            raise BuildError(
                "InvalidOutputReference",
                f"output ImageStream {named.namespace}/{named.stream} does not exist: create it",
                retryable=True,
            ) from error

    async def tagged(self, build: Build) -> str:
        """Return the digest that the build's output has now; empty: it has none, or is no tag."""
        output = await self.stream(build)
        history = output[0].status.tag(output[1]) if output is not None else None
        return history.items[0].image if history is not None and history.items else ""

    async def release(self, build: Build, digest: Digest) -> None:
        """Make the digest the output tag's newest, in the registry and in the stream.

        Both before the Build is Complete: who waits for this build finds its result.
        """

        async def tagged() -> ImageStream | None:
            output = await self.stream(build)
            if output is None:
                return None
            return await self._tagged(*output, digest, await self._access(build))

        async def write(stream: ImageStream | None) -> None:
            if stream is None:
                return
            try:
                await self._store.update_status(stream)
            except NotFoundError as error:
                raise ConflictError(stream.key, "it was deleted meanwhile") from error

        await update_with_retry(tagged, write)

    async def _tagged(
        self, stream: ImageStream, tag: str, digest: Digest, access: RequestAccess
    ) -> ImageStream:
        """Tag the digest in the registry; return the stream as it has to show it."""
        path = f"{stream.namespace}/{stream.name}"
        try:
            await self._internal.tag(path, tag, digest, access)
        except RegistryError as error:
            raise BuildError(
                "PushImageToRegistryFailed",
                f"Failed to push the image to the registry. {error}",
                retryable=True,  # pushed a moment ago, and not there: it is pushed again
            ) from error
        repository = f"{self._internal.prefix}/{path}"
        return stream.with_status(take_push(stream.status, repository, tag, digest, self._clock()))

    def pull_spec(self, build: Build) -> str | None:
        """Return where the build's image is found by its tag; None when it goes nowhere."""
        target = build.spec.output.to
        if target is None or target.kind != IMAGE_STREAM_TAG:
            return target.name if target is not None else None
        return f"{self._internal.prefix}/{StreamTag.of(target, build.namespace)}"
