"""Tags that clients and builds have set in the embedded registry, until their streams know them."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.oci import Digest
from upwell.policy.images.streams import is_image_tag
from upwell.registry.errors import RegistryError, RepositoryUnknownError
from upwell.registry.interface import InternalRegistry, PushEvent

log = logging.getLogger(__name__)

UNREAD_SECONDS = 10.0
"""Until tags are read again that could not be read."""

type PushedTags = Sequence[tuple[str, Digest]]
"""Tags of one repository, each with what it names."""


class PushedTagReader:
    """Reads the tags of a stream's repository, at a start and after each push to it.

    A push is an event: without one, nothing is read again. `look_again` is called with the key of
    the stream that a push is for.
    """

    def __init__(self, internal: InternalRegistry, look_again: Callable[[ObjectKey], None]) -> None:
        self._internal = internal
        self._look_again = look_again
        self._known: dict[ObjectKey, str] = {}
        """Uids of the streams that know all tags that had been pushed when these were read."""
        internal.subscribe(self._on_push)

    @asynccontextmanager
    async def taken(self, stream: ImageStream) -> AsyncIterator[PushedTags]:
        """Give the tags that the stream may not know; they count as known if the body ends well.

        None are given where the registry does not answer, and the stream does not know them then.
        """
        key = stream.key
        if self._known.get(key) == stream.uid:
            yield ()
            return
        self._known[key] = stream.uid  # before the look: a push meanwhile asks for another
        try:
            yield await self._read(key)
        except BaseException:
            self.forget(key)
            raise

    def forget(self, stream: ObjectKey) -> None:
        """Forget a stream: its tags are read again."""
        self._known.pop(stream, None)

    def knows(self, stream: ImageStream) -> bool:
        """Return True if a stream knows all tags, as far as anybody has told of them."""
        return self._known.get(stream.key) == stream.uid

    async def _read(self, stream: ObjectKey) -> PushedTags:
        repository = f"{stream.namespace}/{stream.name}"
        try:
            found = await self._internal.pushed_tags(repository)
        except RepositoryUnknownError:
            return ()  # nothing was ever pushed
        except RegistryError as error:
            log.info("tags not read", extra={"repository": repository, "why": str(error)})
            self.forget(stream)
            return ()
        return [(name, digest) for name, digest in found if is_image_tag(name)]

    def _on_push(self, event: PushEvent) -> None:
        namespace, _, name = event.repository.partition("/")
        if name and is_image_tag(event.tag):
            key = ObjectKey(ImageStream.KIND.kind, namespace, name)
            self.forget(key)
            self._look_again(key)
